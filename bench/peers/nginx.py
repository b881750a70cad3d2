"""nginx with a header that never changes, and the access log that it has by default."""

from bench.peer import CONNECTIONS, TOKEN, Command, Place, program, told

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream api {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        {tls}
        location / {{
            proxy_pass {scheme}://api;
            proxy_set_header Authorization "Bearer {token}";
            proxy_set_header Connection "";
        }}
        location /events {{
            proxy_pass {scheme}://api;
            proxy_set_header Authorization "Bearer {token}";
            proxy_buffering off;
            proxy_set_header Connection "";
        }}
        location /echo {{
            proxy_pass {scheme}://api;
            proxy_set_header Authorization "Bearer {token}";
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection Upgrade;
        }}
    }}
}}
"""
TLS = """
proxy_ssl_name localhost;
proxy_ssl_server_name on;
proxy_ssl_verify on;
proxy_ssl_trusted_certificate {authority};
"""


class Nginx:
    """One worker process."""

    name = "nginx"
    renews = False

    def version(self) -> str:
        """Its own."""
        return told(program("nginx"), "-v").rpartition(" ")[2].replace("/", " ")

    def command(self, place: Place) -> Command:
        """Its temporary files are in the folder, too."""
        config = CONFIG.format(
            folder=place.folder,
            connections=2 * CONNECTIONS,
            port=place.port,
            upstream=place.upstream_port,
            token=TOKEN,
            scheme="https" if place.authority else "http",
            tls=TLS.format(authority=place.authority) if place.authority else "",
        )
        path = place.write("nginx.conf", config)
        return Command([program("nginx"), "-e", f"{place.folder}/error.log", "-c", path])
