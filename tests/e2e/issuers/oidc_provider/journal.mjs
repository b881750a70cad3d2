// What has come and happened since the start, or since it was last cleared: `GET /_log` tells it.

export class Journal {
  constructor() {
    this.rejected = new Set();
    this.clear();
  }

  clear() {
    this.entries = [];
    this.hashed = 0;
    this.inUse = new Set();
    this.toLose = 0;
  }

  // An entry of that kind; its maker fills it in as the answer takes shape.
  add(kind, entry) {
    this.entries.push({ kind, ...entry });
    return this.entries.at(-1);
  }

  rejectTokensInUse() {
    this.rejected = new Set([...this.rejected, ...this.inUse]);
  }

  loseOne() {
    this.toLose += 1;
  }

  // Whether the answer now made is one of those to lose on its way.
  loses() {
    const lost = this.toLose > 0;
    this.toLose -= Number(lost);
    return lost;
  }
}

const ENDPOINTS = {
  '/token': 'token',
  '/token/revocation': 'revocation',
  '/token/introspection': 'introspection',
  '/device/auth': 'device',
  '/me': 'api',
};

// How a client said who it is. The library takes a secret by either way from either client.
function methodUsed(ctx) {
  const { body, client } = ctx.oidc ?? {};
  if (ctx.get('authorization')) return 'client_secret_basic';
  if (body?.client_secret) return 'client_secret_post';
  if (body?.client_assertion) return client?.clientAuthMethod ?? 'private_key_jwt';
  return ctx.socket.authorized ? 'tls_client_auth' : 'none';
}

// Koa middleware: each call of an endpoint that programs call.
export function recording(provider, journal) {
  provider.on('grant.revoked', (ctx, grantId) => {
    journal.add('revoked', { grant_id: grantId, endpoint: ctx.oidc.route });
  });
  provider.on('grant.error', (ctx, error) => {
    ctx.state.detail = error.error_detail ?? error.error_description;
  });
  provider.on('server_error', (ctx, error) => console.error(error));

  return async (ctx, next) => {
    const kind = ENDPOINTS[ctx.path];
    if (kind === undefined) return next();
    return kind === 'api' ? apiCall(ctx, next, journal) : formCall(kind, ctx, next, journal);
  };
}

async function apiCall(ctx, next, journal) {
  const [scheme, token] = ctx.get('authorization').split(' ');
  const entry = journal.add('api', { method: ctx.method, target: ctx.url, scheme, token });
  await next();
  Object.assign(entry, { status: ctx.status, error: ctx.body?.error });
}

async function formCall(kind, ctx, next, journal) {
  const entry = journal.add(kind, { dpop: ctx.get('dpop') !== '' });
  await next();
  const lost = kind === 'token' && journal.loses();
  Object.assign(entry, {
    auth: methodUsed(ctx),
    client_id: ctx.oidc?.client?.clientId,
    detail: ctx.state.detail,
    error: ctx.body?.error,
    form: ctx.oidc?.body,
    lost,
    status: ctx.status,
  });
  if (lost) ctx.req.socket.destroy();
}
