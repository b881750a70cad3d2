// A reverse proxy as one writes it in Go: httputil.ReverseProxy over the Transport of x/oauth2.
//
// go_oauth2 PORT UPSTREAM TOKEN_URL [AUTHORITY]
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const idleConnections = 64 // more than there are callers

func transport(authority string) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = idleConnections
	transport.DisableCompression = true
	transport.ForceAttemptHTTP2 = false
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			log.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return transport
}

func main() {
	port, address, tokenURL, authority := os.Args[1], os.Args[2], os.Args[3], ""
	if len(os.Args) > 4 {
		authority = os.Args[4]
	}
	upstream, err := url.Parse(address)
	if err != nil {
		log.Fatal(err)
	}
	client := clientcredentials.Config{
		ClientID:     "bench",
		ClientSecret: "client-secret",
		TokenURL:     tokenURL,
	}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	direct := proxy.Director
	proxy.Director = func(request *http.Request) {
		direct(request)
		request.Host = upstream.Host
	}
	proxy.Transport = &oauth2.Transport{
		Source: client.TokenSource(context.Background()),
		Base:   transport(authority),
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, proxy))
}
