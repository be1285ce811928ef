// A certified OpenID provider (oidc-provider) for tests, on loopback. Its settings are
// one JSON argument:
//   port     where it listens; 0 is any free port
//   issuer   what it calls itself; where it listens if absent
//   keys     its private keys, as a set of JWKs
//   redirect where it sends browsers back to
// It prints its port, and ends when its standard input does.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const now = () => Math.floor(Date.now() / 1000);
// Scopes that make tokens which are wrong in one way each, signed like all others.
const flaws = {
  'flaw.expired': (jwt) => { jwt.payload.exp = now() - 120; },
  'flaw.early': (jwt) => { jwt.payload.nbf = now() + 120; },
  'flaw.untyped': (jwt) => { jwt.header = { ...jwt.header, typ: 'JWT' }; },
};
const algorithm = settings.keys.keys[0].alg;
const scopes = ['tasks.read', ...Object.keys(flaws)];

const server = createServer();
server.listen(settings.port, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(settings.issuer ?? `http://127.0.0.1:${port}`, {
    jwks: settings.keys,
    cookies: { keys: ['of a test'] },
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] },
    scopes,
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: id === 'ann' ? ['ops'] : [] }),
    }),
    clients: [
      {
        client_id: 'machine',
        client_secret: 'of the machine',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: algorithm,
      },
      {
        client_id: 'longhaul',
        client_secret: 'of longhaul',
        redirect_uris: [settings.redirect ?? 'http://127.0.0.1/'],
        id_token_signed_response_alg: algorithm,
      },
    ],
    formats: {
      customizers: {
        jwt: (_, token, jwt) => {
          for (const scope of (token.scope ?? '').split(' ')) flaws[scope]?.(jwt);
        },
      },
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: scopes.join(' '),
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(port);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
