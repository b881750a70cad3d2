// A real OAuth 2.0 server, npm oidc-provider 9, and an API beside it: issuer of the OAuth tests.
//
// Run as a program, told its options as one JSON object (`OidcOptions` of oidc.py and more), it
// serves on loopback, over HTTP and over HTTPS with client certificates, and prints a line with its
// URL once it accepts. It ends with its standard input: it never outlives the tests, however they
// end.
//
// Paths that begin with `/_` are for tests: they ask for no token and are not kept in the log.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';

import { Api, json } from './api.mjs';
import { Journal } from './journal.mjs';
import { makeProvider } from './provider.mjs';

const KEEP_ALIVE = 75_000; // node's own 5 s would race with the pauses of a test

console.log = console.info = console.error; // standard output is for the line alone

async function listening(server) {
  server.keepAliveTimeout = KEEP_ALIVE;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

function controls(journal, api) {
  return {
    'GET /_log': () => journal.entries,
    'DELETE /_log': () => journal.clear(),
    'POST /_reject': () => journal.rejectTokensInUse(),
    'POST /_nonce': () => api.newNonce(),
    'POST /_lose': () => journal.loseOne(),
  };
}

async function main() {
  const options = JSON.parse(process.argv[2]);
  const [ca, cert, key] = ['ca', 'cert', 'key'].map((name) => readFileSync(options.tls[name]));
  let handle;
  const handler = (req, res) => handle(req, res);
  const tls = { ca, cert, key, requestCert: true, rejectUnauthorized: false };
  const port = await listening(http.createServer(handler));
  const tlsPort = await listening(https.createServer(tls, handler));
  const url = `http://127.0.0.1:${port}`;
  const tlsUrl = `https://127.0.0.1:${tlsPort}`;

  const journal = new Journal();
  const made = makeProvider(url, tlsUrl, options, journal);
  const origins = ['127.0.0.1', 'localhost'].flatMap(
    (name) => [`http://${name}:${port}`, `https://${name}:${tlsPort}`],
  );
  const api = new Api(made, origins, options, journal);
  const control = controls(journal, api);
  const pages = made.provider.callback();

  handle = (req, res) => {
    if (req.url.startsWith('/api/')) {
      api.handle(req, res).catch((error) => {
        if (!req.destroyed || req.complete) console.error(error);
        res.destroy();
      });
    } else if (req.url.startsWith('/_')) {
      const act = control[`${req.method} ${req.url}`];
      json(res, act ? 200 : 404, act?.() ?? {});
    } else {
      pages(req, res);
    }
  };
  process.stdout.write(`listening on ${url}\n`);
}

process.on('SIGTERM', () => process.exit(0));
process.stdin.on('end', () => process.exit(0)).resume();
await main();
