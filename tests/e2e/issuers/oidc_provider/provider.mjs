// The issuer: oidc-provider with its own pages, and what the tests ask of it.

import * as crypto from 'node:crypto';

import * as jose from 'jose';
import { Provider, errors } from 'oidc-provider';

import { PASSWORD, registerGrants } from './grants.mjs';
import { recording } from './journal.mjs';
import { memory } from './store.mjs';

const LONG = 14 * 24 * 3600;
const SCOPES = ['openid', 'offline_access', 'api', 'write'];

// What a client may ask a token for, and the form of that token.
export const RESOURCES = { 'urn:api:jwt': 'jwt', 'urn:api:opaque': 'opaque' };

function resourceServer(ctx, resource) {
  const format = RESOURCES[resource];
  if (format === undefined) throw new errors.InvalidTarget();
  const jwt = { sign: { alg: 'ES256' } };
  return { scope: 'api write', accessTokenFormat: format, ...(format === 'jwt' ? { jwt } : {}) };
}

function signingKey() {
  const { privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: 'provider', alg: 'ES256', use: 'sig' };
}

function issueRefreshToken(options) {
  const lasting = [PASSWORD, 'authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'];
  return async (ctx, client, source) => {
    if (!client.grantTypeAllowed('refresh_token')) return false;
    if (!lasting.includes(ctx.oidc.params.grant_type)) return false;
    return !options.offline_access_only || source.scopes.has('offline_access');
  };
}

const mTLS = {
  enabled: true,
  certificateBoundAccessTokens: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
  certificateAuthorized: (ctx) => ctx.socket.authorized === true,
  certificateSubjectMatches: (ctx, property, expected) => (
    property === 'tls_client_auth_san_dns'
      && mTLS.getCertificate(ctx).subjectAltName?.split(', ').includes(`DNS:${expected}`) === true
  ),
};

function features(options) {
  const nonceSecret = options.token_nonces === 'off' ? undefined : crypto.randomBytes(32);
  return {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret,
      requireNonce: () => options.token_nonces === 'required',
    },
    introspection: { enabled: true },
    mTLS,
    resourceIndicators: {
      enabled: true,
      defaultResource: async (ctx, client, oneOf) => oneOf ?? options.default_resource ?? undefined,
      getResourceServerInfo: resourceServer,
      useGrantedResource: async () => true,
    },
    revocation: { enabled: true },
  };
}

// RFC 8705 5: where a client with a certificate finds the same endpoints.
function aliases(tlsUrl) {
  const endpoints = {
    token: '/token',
    revocation: '/token/revocation',
    introspection: '/token/introspection',
    device_authorization: '/device/auth',
  };
  return Object.fromEntries(
    Object.entries(endpoints).map(([name, path]) => [`${name}_endpoint`, tlsUrl + path]),
  );
}

export function makeProvider(url, tlsUrl, options, journal) {
  const key = signingKey();
  const provider = new Provider(url, {
    adapter: memory(),
    clients: options.clients,
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_jwt', 'client_secret_post', 'private_key_jwt',
      'tls_client_auth', 'none',
    ],
    clientDefaults: {
      grant_types: ['authorization_code'],
      id_token_signed_response_alg: 'ES256',
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
    },
    clockTolerance: 0,
    cookies: { keys: ['for the tests alone'] },
    discovery: { mtls_endpoint_aliases: aliases(tlsUrl) },
    expiresWithSession: async () => false,
    features: features(options),
    findAccount: (ctx, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
    issueRefreshToken: issueRefreshToken(options),
    jwks: { keys: [key] },
    pkce: { required: () => true },
    responseTypes: ['code'],
    rotateRefreshToken: options.rotate,
    scopes: SCOPES,
    ttl: {
      AccessToken: options.access_life,
      ClientCredentials: options.access_life,
      DeviceCode: options.device_life,
      Grant: LONG,
      IdToken: 3600,
      Interaction: 3600,
      RefreshToken: options.refresh_life,
      Session: LONG,
    },
  });
  registerGrants(provider, options);
  provider.use(recording(provider, journal));
  const { d, ...known } = key;
  return { provider, keys: jose.createLocalJWKSet({ keys: [known] }) };
}
