// An API that takes the provider's access tokens: RFC 6750, RFC 9449 7 and RFC 8705 3.
//
// It says no before it has read a body, and hears the rest of it after the answer.

import * as crypto from 'node:crypto';

import * as jose from 'jose';

import { RESOURCES } from './provider.mjs';

const ALGORITHMS = ['ES256', 'EdDSA', 'RS256'];
const RECENT = 60; // seconds between the making of a proof and its arrival

const sha256 = (text) => crypto.createHash('sha256').update(text).digest('base64url');
const pathOf = (req) => req.url.replace(/[?#].*/, '');

class Refused extends Error {
  constructor(scheme, error, description) {
    super(description);
    Object.assign(this, { scheme, error });
  }
}

export class Api {
  // `origins`: how it may be addressed; `keys`: the public ones of the issuer.
  constructor({ provider, keys }, origins, options, journal) {
    Object.assign(this, { provider, keys, origins, options, journal });
    this.proofs = new Set();
    this.newNonce();
  }

  newNonce() {
    this.nonce = crypto.randomBytes(12).toString('base64url');
  }

  async handle(req, res) {
    const [scheme, token] = (req.headers.authorization ?? '').split(' ');
    const entry = this.journal.add('api', { method: req.method, target: req.url, scheme, token });
    res.on('finish', () => { entry.status = res.statusCode; });
    if (this.options.api_nonces && scheme === 'DPoP') res.setHeader('DPoP-Nonce', this.nonce);
    try {
      await this.authorize(req, scheme, token);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      entry.error = error.error;
      res.setHeader('WWW-Authenticate', this.challenges(error));
      return json(res, 401, { error: error.error ?? 'unauthorized' });
    }
    return this.answer(req, res, entry);
  }

  // Both schemes in one field where there was no token, or where the site is told to do so.
  challenges({ scheme, error, message }) {
    const why = error && { error, error_description: message };
    const fields = {
      Bearer: { realm: 'api', ...(scheme === 'Bearer' && why) },
      DPoP: { realm: 'api', ...(scheme === 'DPoP' && why), algs: ALGORITHMS.join(' ') },
    };
    const one = error && !this.options.joined_challenges;
    const told = Object.entries(fields).filter(([word]) => !one || word === scheme);
    return told.map(([word, more]) => {
      const pairs = Object.entries(more).map(([name, value]) => `${name}="${value}"`);
      return `${word} ${pairs.join(', ')}`;
    }).join(', ');
  }

  async authorize(req, scheme, token) {
    if (!token) throw new Refused('Bearer', undefined, 'there is no access token');
    if (scheme !== 'Bearer' && scheme !== 'DPoP') {
      throw new Refused('Bearer', 'invalid_request', 'the scheme is another one');
    }
    const refused = (why, as = scheme) => new Refused(as, 'invalid_token', why);
    const thumbprint = scheme === 'DPoP' ? await this.proven(req, token) : undefined;
    this.journal.inUse.add(token);
    if (this.journal.rejected.has(token)) throw refused('the token was taken back');
    const found = await this.find(token);
    if (!found) throw refused('the token is unknown, expired or revoked');
    if (found.jkt !== thumbprint) {
      throw found.jkt ? refused('the token is bound to another key', 'DPoP')
        : refused('the token is bound to no key');
    }
    const certificate = req.socket.getPeerX509Certificate?.();
    if (found.x5t && (!certificate || found.x5t !== sha256(certificate.raw))) {
      throw refused('the token is bound to another certificate');
    }
  }

  // The thumbprint of the key that signed a good proof for this very request (RFC 9449 4.3).
  async proven(req, token) {
    const refused = (why) => new Refused('DPoP', 'invalid_dpop_proof', why);
    const proofs = req.headersDistinct.dpop ?? [];
    if (proofs.length !== 1) throw refused(`there are ${proofs.length} proofs`);
    const { payload, protectedHeader } = await jose.jwtVerify(proofs[0], jose.EmbeddedJWK, {
      algorithms: ALGORITHMS,
      requiredClaims: ['iat', 'jti', 'htm', 'htu', 'ath'],
      typ: 'dpop+jwt',
    }).catch((cause) => { throw refused(cause.code); });
    if (this.options.api_nonces && payload.nonce !== this.nonce) {
      throw new Refused('DPoP', 'use_dpop_nonce', 'the nonce is missing or old');
    }
    if (payload.htm !== req.method) throw refused('htm is another method');
    if (!this.origins.some((origin) => payload.htu === origin + pathOf(req))) {
      throw refused('htu is another address');
    }
    if (payload.ath !== sha256(token)) throw refused('ath is of another token');
    if (Math.abs(Date.now() / 1000 - payload.iat) > RECENT) throw refused('iat is not recent');
    const thumbprint = await jose.calculateJwkThumbprint(protectedHeader.jwk);
    const once = `${thumbprint} ${payload.jti}`;
    if (this.proofs.has(once)) throw refused('the proof was used before');
    this.proofs.add(once);
    return thumbprint;
  }

  // What the token is bound to, if it is good. A JWT speaks for itself until it has expired.
  async find(token) {
    if (token.split('.').length === 3) {
      const { payload } = await jose.jwtVerify(token, this.keys, {
        audience: Object.keys(RESOURCES),
        clockTolerance: 0,
        issuer: this.provider.issuer,
        typ: 'at+jwt',
      }).catch(() => ({}));
      return payload && { jkt: payload.cnf?.jkt, x5t: payload.cnf?.['x5t#S256'] };
    }
    const found = await this.provider.AccessToken.find(token)
      ?? await this.provider.ClientCredentials.find(token);
    return found && { jkt: found.jkt, x5t: found['x5t#S256'] };
  }

  async answer(req, res, entry) {
    const hash = crypto.createHash('sha256');
    const path = pathOf(req);
    const kept = [];
    let length = 0;
    for await (const piece of req) {
      hash.update(piece);
      length += piece.length;
      if (path === '/api/echo') kept.push(piece);
    }
    const digest = { sha256: hash.digest('hex'), length };
    Object.assign(entry, { body_length: length, body_sha256: digest.sha256 });
    const { method, url: target, headers } = req;
    switch (path) {
      case '/api/items':
        return json(res, 200, { items: ['apple', 'pear'] });
      case '/api/hash':
        return json(res, 200, { ...digest, arrivals: ++this.journal.hashed });
      case '/api/echo':
        return json(res, 200, { method, target, headers, body: Buffer.concat(kept).toString() });
      default:
        return json(res, 404, { error: 'not_found' });
    }
  }
}

export function json(res, status, body) {
  const bytes = Buffer.from(JSON.stringify(body));
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': bytes.length });
  res.end(bytes);
}
