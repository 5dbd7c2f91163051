// A real OpenID provider on a loopback port, for the tests (running.py starts it).
//
// It says where it is in one line of JSON, then takes orders as lines of JSON and answers each with a line. It ends
// when its input does, so that no provider outlives its test.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const API = 'https://scopegate.test';
const AUDIENCE = 'scopegate';
const OTHER_API = 'https://wiki.test';
const TOKEN_SECONDS = Number(process.env.PROVIDER_TOKEN_SECONDS ?? '300');
const DAY = 86_400;
const people = new Map([
  ['alice', { groups: ['staff', 'scopegate-admins'], name: 'Alice Liddell' }],
  ['bob', { groups: ['staff'], name: 'Bob Cratchit' }],
]);
const programs = ['deploy-pipeline', 'some-pipeline'];

const now = Date.now;
let algorithm = process.env.PROVIDER_ALGORITHM ?? 'RS256';
let keys = [newKey('RS256'), newKey('ES256')];
let pages; // The address of a service whose pages people sign in to.

function newKey(alg) {
  const { privateKey } = alg === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

function claimsOf(id) {
  const { groups, name } = people.get(id);
  return { sub: id, preferred_username: id, name, email: `${id}@example.com`, groups };
}

function pagesClient() {
  return {
    client_id: 'scopegate-pages',
    client_secret: 'secret of: pages',
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: [`${pages}/login/callback`],
    post_logout_redirect_uris: [`${pages}/signed-out`],
    backchannel_logout_uri: `${pages}/logout/back-channel`,
    backchannel_logout_session_required: true,
  };
}

function newProvider(issuer) {
  return new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: [randomUUID()] },
    clients: [
      {
        client_id: AUDIENCE,
        application_type: 'native',
        redirect_uris: ['http://127.0.0.1/callback'],
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
      ...(pages ? [pagesClient()] : []),
      ...programs.map((id) => ({
        client_id: id,
        client_secret: `secret-of-${id}`,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
    ],
    scopes: ['openid', 'profile', 'email'],
    // Who signs in to pages may have no access token for the API: what it would say is in the ID token.
    claims: { openid: ['sub', 'preferred_username', 'name', 'email', 'groups'] },
    conformIdTokenClaims: false,
    // By itself it sends nothing to loopback.
    fetch: (url, options) => { delete options.dispatcher; return globalThis.fetch(url, options); },
    // A day for what a browser keeps: longer than any clock here differs.
    ttl: {
      AccessToken: TOKEN_SECONDS,
      ClientCredentials: TOKEN_SECONDS,
      IdToken: TOKEN_SECONDS,
      Grant: DAY,
      Interaction: DAY,
      Session: DAY,
    },
    findAccount: (_ctx, id) => (people.has(id) ? { accountId: id, claims: () => claimsOf(id) } : undefined),
    extraTokenClaims: (_ctx, token) => (token.accountId ? claimsOf(token.accountId) : undefined),
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true }, // Its own forms for signing in and for consent.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => {
          if (![API, OTHER_API].includes(resource)) throw new Error(`no such API: ${resource}`);
          const audience = resource === API ? AUDIENCE : 'wiki';
          return { scope: '', audience, accessTokenFormat: 'jwt', jwt: { sign: { alg: algorithm } } };
        },
      },
    },
  });
}

const orders = {
  // New keys, and none of the old: sessions and codes stay.
  rotate: () => {
    keys = [newKey('RS256'), newKey('ES256')];
    handle = newProvider(issuer).callback();
    return keys.map((key) => key.kid);
  },
  algorithm: (alg) => { algorithm = alg; },
  // What its clock shows, in seconds beside the true time.
  clock: (seconds) => { Date.now = () => now() + seconds * 1000; },
  // Let people sign in to the pages of a service, and tell it when they sign out.
  pages: (url) => {
    pages = url;
    handle = newProvider(issuer).callback();
  },
  groups: ({ person, groups }) => { people.get(person).groups = groups; },
};

console.info = console.error; // The standard output is for answers.
let handle;
const server = createServer((request, response) => handle(request, response));
server.listen(Number(process.env.PROVIDER_PORT ?? 0), '127.0.0.1');
await new Promise((resolve) => { server.once('listening', resolve); });
const issuer = `http://127.0.0.1:${server.address().port}`;
handle = newProvider(issuer).callback();
console.log(JSON.stringify({ issuer }));

for await (const line of createInterface({ input: process.stdin })) {
  const [[order, value]] = Object.entries(JSON.parse(line));
  console.log(JSON.stringify({ done: orders[order](value) ?? null }));
}
process.exit();
