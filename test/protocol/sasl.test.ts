import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NS, PASSWORD, RawClient, type Mechanism, type Via } from '../support/client.js';
import { plain, Scram, type ClientExchange } from '../support/sasl.js';
import { startServer, type TestServer } from '../support/server.js';

let server: TestServer;
/** Logged in all the time: whatever a test does to its own stream, this one goes on. */
let bystander: RawClient;

beforeAll(async () => {
  server = await startServer({ set: { 'limits.failed_authentications_per_minute': 10_000 } });
  bystander = await server.client('bystander');
  await server.addUsers('juliet', 'romeo');
});
afterEach(() => bystander.ping());
afterAll(() => server.stop());

const base64 = (text: string | Buffer) => Buffer.from(text).toString('base64');
const auth = (mechanism: string, text: string) => `<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${text}</auth>`;
const response = (text: string) => `<response xmlns='${NS.sasl}'>${text}</response>`;
const answer = (client: RawClient) => client.expect((element) => element.ns === NS.sasl);

async function opened(via: Via = 'tcp'): Promise<RawClient> {
  const client = await RawClient.connect(server, { via });
  await client.open();
  return client;
}

/** The condition of the failure that comes next. */
async function failure(client: RawClient): Promise<string> {
  const element = await answer(client);
  expect(element.name).toBe('failure');
  const [condition, ...more] = element.names().filter((name) => name !== 'text');
  expect(more).toEqual([]);
  return condition!;
}

/** Runs an exchange to its end: `success`, or the condition of the failure. */
async function attempt(client: RawClient, mechanism: string, exchange: ClientExchange): Promise<string> {
  client.write(auth(mechanism, base64(exchange.initial())));
  for (;;) {
    const element = await answer(client);
    const data = Buffer.from(element.text(), 'base64');
    if (element.name === 'failure') return element.names()[0]!;
    if (element.name === 'success') {
      exchange.success(data);
      return 'success';
    }
    client.write(response(base64(exchange.challenge(data))));
  }
}

const IN_THE_CLEAR = ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'];
const IN_TLS = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', ...IN_THE_CLEAR];

describe('what is offered', () => {
  it.each<[Via, string[]]>([
    ['tcp', IN_THE_CLEAR],
    ['tls', IN_TLS],
    ['starttls', IN_TLS],
    ['websocket', IN_THE_CLEAR],
  ])('over %s: the strongest first', async (via, expected) => {
    const client = await RawClient.connect(server, { via });
    let features = await client.open();
    if (via === 'starttls') features = await client.starttls();
    expect(
      features
        .get('mechanisms')
        .elements()
        .map((mechanism) => mechanism.text()),
    ).toEqual(expected);
    const bindings = features.child('sasl-channel-binding', 'urn:xmpp:sasl-cb:0');
    expect(bindings?.elements().map((binding) => binding.attr('type'))).toEqual(
      expected === IN_TLS ? ['tls-exporter', 'tls-server-end-point'] : undefined,
    );
    client.cut();
  });
});

describe('a login', () => {
  const ways: [Via, Mechanism][] = (['tcp', 'tls', 'starttls', 'websocket'] as const).flatMap((via) =>
    (via === 'tls' || via === 'starttls' ? IN_TLS : IN_THE_CLEAR).map((mechanism): [Via, Mechanism] => [
      via,
      mechanism as Mechanism,
    ]),
  );
  it.each(ways)('over %s with %s succeeds with the right password and with no other', async (via, mechanism) => {
    const client = await RawClient.connect(server, { via });
    await client.open();
    if (via === 'starttls') await client.starttls();
    const refused = await client.tryAuthenticate(mechanism, 'juliet', 'wrong');
    expect([refused.name, ...refused.names()]).toEqual(['failure', 'not-authorized']);
    await client.authenticate(mechanism, 'juliet', PASSWORD);
    expect(await client.bind()).toMatch(/^juliet@localhost\//);
    await client.close();
  });

  it.each<Mechanism>(['PLAIN', 'SCRAM-SHA-256'])('with %s is prepared (RFC 7622, RFC 8265)', async (mechanism) => {
    await server.control('user.add', { user: 'Jürgen', password: 'pa\u00a0ss wo\u0301rd, =3D' });
    const client = await opened();
    // Composed or not, wide or not, in capitals or not.
    await client.authenticate(mechanism, 'JU\u0308RG\uff25N', 'pa ss w\u00f3rd, =3D');
    expect(await client.bind('x')).toBe('jürgen@localhost/x');
    await client.close();
  });

  it.each<[string, string, () => ClientExchange]>([
    ['PLAIN', 'the bare address', () => plain({ user: 'juliet', password: PASSWORD, authzid: 'juliet@localhost' })],
    [
      'SCRAM-SHA-256',
      'the bare address',
      () => new Scram('sha256', { user: 'juliet', password: PASSWORD, authzid: 'Juliet@LOCALHOST' }),
    ],
    ['SCRAM-SHA-256', 'nobody', () => new Scram('sha256', { user: 'juliet', password: PASSWORD })],
    [
      'SCRAM-SHA-1',
      'nobody, where the server cannot bind channels',
      () => new Scram('sha1', { user: 'juliet', password: PASSWORD }, undefined, 'y'),
    ],
  ])('with %s may be on behalf of %s', async (mechanism, _, exchange) => {
    const client = await opened();
    expect(await attempt(client, mechanism, exchange())).toBe('success');
    client.cut();
  });

  it('may leave out the initial response: an empty challenge asks for it (RFC 6120 §6.4.2)', async () => {
    const client = await opened();
    client.write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'/>`);
    const challenge = await answer(client);
    expect([challenge.name, challenge.text()]).toEqual(['challenge', '']);
    client.write(response(base64(`\0juliet\0${PASSWORD}`)));
    expect((await answer(client)).name).toBe('success');
    client.cut();
  });

  it('may begin anew in the middle of an exchange', async () => {
    const client = await opened();
    client.write(auth('SCRAM-SHA-256', base64(new Scram('sha256', { user: 'juliet', password: 'x' }).initial())));
    expect((await answer(client)).name).toBe('challenge');
    await client.authenticate('PLAIN', 'juliet');
    client.cut();
  });

  it('is over at once for the old password when it has been changed, and for a removed account', async () => {
    await server.addUsers('paris');
    const first = await RawClient.login(server, { user: 'paris' });
    await first.close();
    await server.control('user.passwd', { user: 'paris', password: 'new' });
    const client = await opened();
    expect((await client.tryAuthenticate('PLAIN', 'paris')).names()).toContain('not-authorized');
    expect((await client.tryAuthenticate('SCRAM-SHA-1', 'paris')).names()).toContain('not-authorized');
    await client.authenticate('PLAIN', 'paris', 'new');
    client.cut();
    await server.control('user.remove', { user: 'paris' });
    const late = await opened();
    expect((await late.tryAuthenticate('PLAIN', 'paris', 'new')).names()).toContain('not-authorized');
    late.cut();
  });
});

describe('a failure names its condition (RFC 6120 §6.5)', () => {
  const gs2 = (text: string) => base64(text);
  const nonce = randomBytes(12).toString('base64');

  it.each([
    ['not-authorized', 'an account that does not exist', auth('PLAIN', base64(`\0nobody\0${PASSWORD}`))],
    ['not-authorized', 'a name that none can have', auth('PLAIN', base64(`\0a b\0${PASSWORD}`))],
    ['invalid-authzid', 'another account', auth('PLAIN', base64(`romeo@localhost\0juliet\0${PASSWORD}`))],
    ['invalid-authzid', 'another domain', auth('PLAIN', base64(`juliet@example.org\0juliet\0${PASSWORD}`))],
    [
      'invalid-authzid',
      'another account in SCRAM',
      auth('SCRAM-SHA-1', gs2(`n,a=romeo@localhost,n=juliet,r=${nonce}`)),
    ],
    ['invalid-mechanism', 'an unknown mechanism', auth('DIGEST-MD5', '=')],
    ['invalid-mechanism', 'a mechanism in lower case', auth('plain', base64(`\0juliet\0${PASSWORD}`))],
    ['invalid-mechanism', 'no mechanism', `<auth xmlns='${NS.sasl}'>=</auth>`],
    [
      'invalid-mechanism',
      'channel binding in the clear',
      auth('SCRAM-SHA-256-PLUS', gs2(`p=tls-exporter,,n=j,r=${nonce}`)),
    ],
    ['invalid-mechanism', 'EXTERNAL without a certificate', auth('EXTERNAL', '=')],
    ['incorrect-encoding', 'no base64', auth('PLAIN', '%%%%')],
    ['incorrect-encoding', 'white space in base64', auth('PLAIN', `${base64('\0juliet\0')} ${base64(PASSWORD)}`)],
    [
      'incorrect-encoding',
      'base64 without its padding',
      auth('PLAIN', base64(`\0juliet\0${PASSWORD}12`).replaceAll('=', '')),
    ],
    ['incorrect-encoding', 'only padding', auth('PLAIN', '==')],
    ['malformed-request', 'PLAIN without a password', auth('PLAIN', base64('\0juliet\0'))],
    ['malformed-request', 'PLAIN with too many parts', auth('PLAIN', base64('\0juliet\0a\0b'))],
    ['malformed-request', 'PLAIN that is not UTF-8', auth('PLAIN', base64(Buffer.from('\0juliet\0\xff', 'latin1')))],
    ['malformed-request', 'an empty response', auth('PLAIN', '=')],
    ['malformed-request', 'SCRAM without a nonce', auth('SCRAM-SHA-256', gs2('n,,n=juliet'))],
    ['malformed-request', 'SCRAM with an extension', auth('SCRAM-SHA-256', gs2(`n,,m=x,n=juliet,r=${nonce}`))],
    ['malformed-request', 'SCRAM with a broken name', auth('SCRAM-SHA-256', gs2(`n,,n=juli=et,r=${nonce}`))],
    [
      'malformed-request',
      'channel binding without -PLUS',
      auth('SCRAM-SHA-256', gs2(`p=tls-exporter,,n=j,r=${nonce}`)),
    ],
    ['malformed-request', 'a response to nothing', response('=')],
    ['malformed-request', 'an unknown element', `<hello xmlns='${NS.sasl}'/>`],
    ['aborted', 'abort', `<abort xmlns='${NS.sasl}'/>`],
  ])('%s: %s', async (condition, _, request) => {
    const client = await opened();
    client.write(request);
    expect(await failure(client)).toBe(condition);
    // The stream goes on, and so may the client (§6.4.5).
    await client.authenticate('PLAIN', 'juliet');
    client.cut();
  });

  it('aborted: in the middle of an exchange, which is then over (§6.4.4)', async () => {
    const client = await opened();
    const exchange = new Scram('sha256', { user: 'juliet', password: PASSWORD });
    client.write(auth('SCRAM-SHA-256', base64(exchange.initial())));
    const challenge = Buffer.from((await answer(client)).text(), 'base64');
    client.write(`<abort xmlns='${NS.sasl}'/>`);
    expect(await failure(client)).toBe('aborted');
    client.write(response(base64(exchange.challenge(challenge))));
    expect(await failure(client)).toBe('malformed-request');
    client.cut();
  });

  it('not-authorized: a SCRAM answer with the nonce of another exchange', async () => {
    const client = await opened();
    const exchange = new Scram('sha256', { user: 'juliet', password: PASSWORD });
    client.write(auth('SCRAM-SHA-256', base64(exchange.initial())));
    const old = exchange.challenge(Buffer.from((await answer(client)).text(), 'base64'));
    client.write(auth('SCRAM-SHA-256', base64(exchange.initial())));
    expect((await answer(client)).name).toBe('challenge');
    client.write(response(base64(old)));
    expect(await failure(client)).toBe('not-authorized');
    client.cut();
  });

  it('not-authorized: a downgrade, when the client says that it saw no -PLUS (RFC 5802 §6)', async () => {
    const client = await opened('tls');
    const exchange = new Scram('sha256', { user: 'juliet', password: PASSWORD }, undefined, 'y');
    expect(await attempt(client, 'SCRAM-SHA-256', exchange)).toBe('not-authorized');
    client.cut();
  });

  it.each(['tls-exporter', 'tls-server-end-point', 'tls-unique'] as const)(
    'not-authorized: %s of another connection, or not of this kind',
    async (name) => {
      const client = await opened('tls');
      const binding = { name, data: randomBytes(32) };
      const exchange = new Scram('sha256', { user: 'juliet', password: PASSWORD }, binding);
      expect(await attempt(client, 'SCRAM-SHA-256-PLUS', exchange)).toBe('not-authorized');
      client.cut();
    },
  );

  it('is the same for an account that does not exist, and so is what comes before it', async () => {
    const challenges: Record<string, string>[] = [];
    for (const user of ['nobody', 'nobody', 'juliet']) {
      const client = await opened();
      client.write(auth('SCRAM-SHA-1', base64(`n,,n=${user},r=abcdefgh`)));
      const challenge = Buffer.from((await answer(client)).text(), 'base64').toString();
      challenges.push(Object.fromEntries(challenge.split(',').map((part) => [part[0], part.slice(2)])));
      client.write(response(base64(`c=biws,r=${challenges.at(-1)!.r},p=${base64(randomBytes(20))}`)));
      expect(await failure(client)).toBe('not-authorized');
      client.cut();
    }
    const [first, second, known] = challenges as [
      Record<string, string>,
      Record<string, string>,
      Record<string, string>,
    ];
    expect(first.s).toBe(second.s);
    expect(first.r).not.toBe(second.r);
    expect([first.i, first.s!.length]).toEqual([known.i, known.s!.length]);
  });

  it('ends the stream after so many (§6.4.5): limits.authentication_attempts', async () => {
    const client = await opened();
    for (let i = 0; i < 5; i++) {
      expect((await client.tryAuthenticate('PLAIN', 'juliet', `guess ${i}`)).name).toBe('failure');
    }
    await client.expectStreamError('policy-violation');
  });

  it('leaves the right password its chance until then', async () => {
    const client = await opened();
    for (let i = 0; i < 4; i++) await client.tryAuthenticate('PLAIN', 'juliet', `guess ${i}`);
    await client.authenticate('PLAIN', 'juliet');
    client.cut();
  });
});

describe('where TLS is required', () => {
  let strict: TestServer;
  beforeAll(async () => {
    strict = await startServer({ set: { 'c2s.tls': 'required', registration: 'open' } });
    await strict.addUsers('juliet');
  });
  afterAll(() => strict.stop());

  it.each(['PLAIN', 'SCRAM-SHA-256'])(
    '%s comes too early before it: encryption-required (§6.5.4)',
    async (mechanism) => {
      const client = await RawClient.connect(strict);
      await client.open();
      client.write(auth(mechanism, base64(`\0juliet\0${PASSWORD}`)));
      expect(await failure(client)).toBe('encryption-required');
      // It is not too late.
      await client.starttls();
      await client.authenticate('PLAIN', 'juliet');
      client.cut();
    },
  );

  it('nobody registers before it either', async () => {
    const client = await RawClient.connect(strict);
    await client.open();
    client.write(`<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>`);
    await client.expectStreamError('not-authorized');
  });
});
