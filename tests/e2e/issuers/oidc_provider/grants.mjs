// Grants that the library leaves to its users: ROPC, RFC 7523 2.1 and RFC 8693.
//
// They end in the library's own `issueTokens`, as its grants do: the same DPoP and mTLS bindings,
// resources, scopes and answers.

import * as jose from 'jose';
import { errors } from 'oidc-provider';
import { issueTokens } from 'oidc-provider/lib/helpers/grant_common.js';
import * as unbound from 'oidc-provider/lib/helpers/grants.js';

const { InvalidGrant, InvalidRequest, InvalidTarget } = errors;

export const PASSWORD = 'password';
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';
const ACCESS_TOKEN = `${TOKEN_TYPE}access_token`;
const JWT = `${TOKEN_TYPE}jwt`;

export function registerGrants(provider, options) {
  const helpers = Object.fromEntries(
    Object.entries(unbound).map(([name, helper]) => [name, helper.bind(undefined, provider)]),
  );
  const keys = jose.createLocalJWKSet({ keys: options.trusted_keys });

  // Whoever the JWT speaks of: signed by a known key, made out to this server, and in its time.
  async function subjectOf(jwt, ctx) {
    const { payload } = await jose.jwtVerify(jwt, keys, {
      audience: [provider.issuer, ctx.oidc.urlFor('token')],
      clockTolerance: 0,
      requiredClaims: ['iss', 'sub', 'exp'],
    });
    return payload;
  }

  async function issue(ctx, accountId, gty) {
    const { client } = ctx.oidc;
    const dPoP = await helpers.validateDpop(ctx);
    const cert = helpers.checkMtlsCert(ctx);
    helpers.checkDpopRequired(ctx, dPoP);

    const scope = [...helpers.validateClientScope(ctx)].join(' ');
    const resources = await helpers.resolveRequestedResources(ctx);
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addOIDCScope(scope);
    for (const resource of resources) {
      grant.addResourceScope(resource.identifier(), scope || resource.scope);
    }
    const asked = resources.map((resource) => resource.identifier());
    const source = new provider.RefreshToken({
      accountId,
      client,
      grantId: await grant.save(),
      resource: asked.length === 1 ? asked[0] : asked, // a list of one would be refused later
      scope: scope || undefined,
    });
    await issueTokens(provider, helpers, ctx, source, grant, { gty, entityLabel: gty, cert, dPoP });
  }

  async function password(ctx) {
    const { params } = ctx.oidc;
    if (params.username !== options.username || params.password !== options.password) {
      throw new InvalidGrant('wrong username or password');
    }
    await issue(ctx, params.username, 'password');
  }

  async function jwtBearer(ctx) {
    const { assertion } = ctx.oidc.params;
    if (!assertion) throw new InvalidRequest('an assertion is missing');
    const { iss, sub, exp, jti } = await subjectOf(assertion, ctx).catch((cause) => {
      throw new InvalidGrant({ cause });
    });
    if (!jti) throw new InvalidGrant('the assertion has no jti');
    if (!(await provider.ReplayDetection.unique(iss, jti, exp))) {
      throw new InvalidGrant('the assertion was used before');
    }
    await issue(ctx, sub, 'jwt_bearer');
  }

  // RFC 8693 2.2.2: a bad subject or actor token is `invalid_request`.
  async function holderOf(token, type, ctx) {
    if (type === ACCESS_TOKEN) {
      const found = await provider.AccessToken.find(token)
        ?? await provider.ClientCredentials.find(token);
      if (!found) throw new InvalidRequest('the access token is not, or no longer, one of ours');
      return found.accountId ?? found.clientId;
    }
    if (type !== JWT) throw new InvalidRequest(`tokens of the type ${type} are not taken`);
    const { sub } = await subjectOf(token, ctx).catch((cause) => {
      throw new InvalidRequest('the JWT is not to be trusted', undefined, { cause });
    });
    return sub;
  }

  async function tokenExchange(ctx) {
    const { params } = ctx.oidc;
    if (params.audience !== undefined && params.audience !== options.audience) {
      throw new InvalidTarget();
    }
    if ((params.requested_token_type ?? ACCESS_TOKEN) !== ACCESS_TOKEN) {
      throw new InvalidRequest('only access tokens are given');
    }
    const subject = await holderOf(params.subject_token, params.subject_token_type, ctx);
    if (params.actor_token !== undefined) {
      await holderOf(params.actor_token, params.actor_token_type, ctx);
    }
    await issue(ctx, subject, 'token_exchange');
    ctx.body = { ...ctx.body, issued_token_type: ACCESS_TOKEN };
  }

  const common = ['scope', 'resource'];
  const register = (name, handler, parameters) => {
    provider.registerGrantType(name, handler, [...common, ...parameters], ['resource']);
  };
  register(PASSWORD, password, ['username', 'password']);
  register(JWT_BEARER, jwtBearer, ['assertion']);
  register(TOKEN_EXCHANGE, tokenExchange, [
    'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type',
    'requested_token_type', 'audience',
  ]);
}
