import { spawn, spawnSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  channelBindings,
  clientCertificate,
  hasExtendedMasterSecret,
  inspectClientCertificate,
} from '../../src/stream/tls/bindings.js';
import { endPointOf, serverEndPoint } from '../../src/stream/tls/end-point.js';
import { xmppAddresses } from '../../src/stream/tls/xmpp-address.js';
import { Authority, selfSigned, type Algorithm, type Issued } from './authority.js';
import { folder, openStore, serve, write } from './harness.js';

const LABEL = 'EXPORTER-Channel-Binding';
/** SSL_OP_NO_EXTENDED_MASTER_SECRET of OpenSSL 3. */
const NO_EXTENDED_MASTER_SECRET = 1;

async function ready(wish: Parameters<typeof selfSigned>[0] = {}) {
  const issued = selfSigned({ dns: ['localhost'], ...wish });
  const { store } = await openStore(await write(await folder(), issued));
  return { issued, store, ...(await serve(store)) };
}

describe('tls-exporter (RFC 9266)', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is what the client exports with an empty context (%s)',
    async (version) => {
      const { handshake } = await ready();
      const { client, server } = await handshake({ minVersion: version, maxVersion: version });
      const theirs = client.exportKeyingMaterial(32, LABEL, Buffer.alloc(0));
      expect(channelBindings(server)['tls-exporter']).toEqual(theirs);
    },
  );

  test('differs from connection to connection', async () => {
    const { handshake } = await ready();
    const [one, two] = [await handshake(), await handshake()];
    expect(channelBindings(one.server)['tls-exporter']).not.toEqual(channelBindings(two.server)['tls-exporter']);
  });

  test('is not offered on TLS 1.2 without the extended master secret', async () => {
    const { handshake } = await ready();
    const { server } = await handshake({ maxVersion: 'TLSv1.2', secureOptions: NO_EXTENDED_MASTER_SECRET });
    const bindings = channelBindings(server);
    expect(bindings['tls-exporter']).toBeUndefined();
    expect(bindings['tls-server-end-point']).toHaveLength(32);
  });

  // TLS 1.3 makes no difference between no context, which is what s_client has, and an empty one (RFC 8446 §7.5).
  test.skipIf(spawnSync('openssl', ['version']).error)('is what openssl s_client exports', async () => {
    const { port, next } = await ready();
    const accepted = next();
    const address = `127.0.0.1:${port}`;
    const args = ['s_client', '-connect', address, '-tls1_3', '-keymatexport', LABEL, '-keymatexportlen', '32'];
    const child = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'ignore'] });
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    const closed = once(child, 'close');
    const bindings = channelBindings(await accepted);
    child.stdin.end('Q\n');
    await closed;
    const theirs = /Keying material: ([0-9A-F]+)/.exec(output)![1];
    expect(bindings['tls-exporter']!.toString('hex').toUpperCase()).toBe(theirs);
  });

  test('cannot be undone by renegotiation: there is none', async () => {
    const { handshake } = await ready();
    const { client } = await handshake({ maxVersion: 'TLSv1.2' });
    const error = await new Promise<Error | null>((resolve) => {
      client.once('error', resolve);
      client.once('close', () => resolve(new Error('closed')));
      client.renegotiate({}, resolve);
    });
    expect(error).toBeInstanceOf(Error);
  });
});

describe('tls-server-end-point (RFC 5929 §4)', () => {
  test('is the hash of the certificate that the client saw', async () => {
    const { handshake, issued } = await ready();
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { client, server } = await handshake({ maxVersion });
      const seen = client.getPeerX509Certificate()!.raw;
      expect(seen.equals(issued.der)).toBe(true);
      expect(channelBindings(server)['tls-server-end-point']).toEqual(createHash('sha256').update(seen).digest());
    }
  });

  test('is that of the certificate that the connection began with, also after a reload', async () => {
    const path = await folder();
    const [one, two] = [selfSigned({ dns: ['localhost'] }), selfSigned({ dns: ['localhost'] })];
    const { store } = await openStore(await write(path, one));
    const { handshake } = await serve(store);
    const old = await handshake();
    await write(path, two);
    await store.reload();
    const fresh = await handshake();
    for (const [{ server }, { der }] of [
      [old, one],
      [fresh, two],
      [old, one],
    ] as const) {
      expect(channelBindings(server)['tls-server-end-point']).toEqual(createHash('sha256').update(der).digest());
    }
  });

  test('is found without the options that node keeps, too', async () => {
    const { handshake, issued } = await ready();
    const { server } = await handshake();
    delete (server as { _tlsOptions?: unknown })._tlsOptions;
    expect(endPointOf(server)).toEqual(createHash('sha256').update(issued.der).digest());
  });

  test.each<[Algorithm, string | undefined]>([
    ['rsa-sha1', 'sha256'],
    ['rsa-sha256', 'sha256'],
    ['rsa-sha384', 'sha384'],
    ['rsa-sha512', 'sha512'],
    ['rsa-pss', 'sha384'],
    ['ecdsa-256', 'sha256'],
    ['ecdsa-384', 'sha384'],
    ['ecdsa-sha512', 'sha512'],
    ['ed25519', undefined],
  ])('with a signature %s the hash is %s', async (algorithm, hash) => {
    const { der } = selfSigned({ algorithm });
    const expected = hash === undefined ? undefined : createHash(hash).update(der).digest();
    expect(serverEndPoint(der)).toEqual(expected);
  });

  test('cannot be had from nonsense', () => {
    expect(serverEndPoint(Buffer.alloc(0))).toBeUndefined();
    expect(serverEndPoint(Buffer.from('nonsense'))).toBeUndefined();
  });
});

test('a connection that is over has no bindings and no certificate', async () => {
  const { handshake } = await ready();
  const { client, server } = await handshake();
  const closed = new Promise((resolve) => server.once('close', resolve));
  server.resume();
  client.destroy();
  await closed;
  expect(channelBindings(server)).toEqual({});
  expect(clientCertificate(server)).toBeUndefined();
});

describe('client certificates', () => {
  async function houseOf(authority: Authority) {
    const path = await folder();
    const files = await write(path, selfSigned({ dns: ['localhost'] }));
    const client_ca = join(path, 'ca.pem');
    await writeFile(client_ca, authority.issued.certificate);
    const { store } = await openStore({ ...files, client_ca, ticketKeys: Buffer.alloc(48, 3) });
    return serve(store);
  }
  const shown = ({ certificate, key }: Issued) => ({ cert: certificate, key });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('of our authority are taken (%s)', async (maxVersion) => {
    const authority = new Authority();
    const device = authority.issue({ xmpp: ['sensor@localhost'] });
    const { handshake } = await houseOf(authority);
    const { server } = await handshake({ maxVersion, ...shown(device) });
    expect(clientCertificate(server)?.equals(device.der)).toBe(true);
  });

  test('none, foreign, self-signed, expired or not yet valid: the connection goes on, the certificate does not count', async () => {
    const [ours, foreign] = [new Authority(), new Authority('Foreign')];
    const { handshake } = await houseOf(ours);
    const hour = 3_600_000;
    const cases: [string, Issued | undefined, RegExp][] = [
      ['none', undefined, /^none$/],
      ['foreign', foreign.issue({ xmpp: ['sensor@localhost'] }), /UNABLE_TO|SIGNATURE/],
      ['self-signed', selfSigned({ xmpp: ['sensor@localhost'] }), /SELF_SIGNED/],
      [
        'expired',
        ours.issue({ notBefore: new Date(Date.now() - 2 * hour), notAfter: new Date(Date.now() - hour) }),
        /CERT_HAS_EXPIRED/,
      ],
      [
        'early',
        ours.issue({ notBefore: new Date(Date.now() + hour), notAfter: new Date(Date.now() + 2 * hour) }),
        /NOT_YET_VALID/,
      ],
      ['an impostor of our name', new Authority().issue({ xmpp: ['sensor@localhost'] }), /UNABLE_TO|SIGNATURE/],
    ];
    for (const [what, device, problem] of cases) {
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        const { server } = await handshake({ maxVersion, ...(device ? shown(device) : {}) });
        expect(clientCertificate(server), what).toBeUndefined();
        expect(inspectClientCertificate(server), what).toEqual({ problem: expect.stringMatching(problem) });
      }
    }
  });

  test('are not asked for, and do not count, where no authority is configured', async () => {
    const { handshake } = await ready();
    const { server } = await handshake(shown(selfSigned({ xmpp: ['sensor@localhost'] })));
    expect(inspectClientCertificate(server)).toEqual({ problem: 'none' });
  });

  test('still count when the session is resumed, but not under another authority', async () => {
    const [ours, theirs] = [new Authority(), new Authority()];
    const device = ours.issue({ xmpp: ['sensor@localhost'] });
    const { handshake } = await houseOf(ours);
    const { handshake: elsewhere } = await houseOf(theirs);
    const options = { maxVersion: 'TLSv1.2' as const, ...shown(device) };
    const session = (await handshake(options)).client.getSession()!;
    const resumed = await handshake({ ...options, session });
    expect(resumed.client.isSessionReused()).toBe(true);
    expect(clientCertificate(resumed.server)?.equals(device.der)).toBe(true);
    const moved = await elsewhere({ ...options, session });
    expect(moved.client.isSessionReused()).toBe(false);
    expect(clientCertificate(moved.server)).toBeUndefined();
  });
});

describe('addresses in a certificate', () => {
  test('are the xmppAddr names, in order, among names of other kinds', async () => {
    const xmpp = ['juliet@localhost', 'roméo@example.org', 'x'.repeat(300)];
    const { der } = selfSigned({ dns: ['localhost'], srv: ['_xmpp-client.localhost'], xmpp });
    expect(xmppAddresses(der)).toEqual(xmpp);
  });

  test('are none where there are no alternative names', async () => {
    expect(xmppAddresses(selfSigned().der)).toEqual([]);
    expect(xmppAddresses(selfSigned({ dns: ['localhost'] }).der)).toEqual([]);
  });

  test('and everything else that is read of DER survive any damage', async () => {
    const { der } = selfSigned({ dns: ['localhost'], xmpp: ['juliet@localhost'] });
    for (let at = 0; at < der.length; at++) {
      for (const value of [0x00, 0x7f, 0x80, 0x84, 0xff]) {
        const damaged = Buffer.from(der);
        damaged[at] = value;
        expect(Array.isArray(xmppAddresses(damaged))).toBe(true);
        serverEndPoint(damaged);
        hasExtendedMasterSecret(damaged);
      }
      expect(Array.isArray(xmppAddresses(der.subarray(0, at)))).toBe(true);
      serverEndPoint(der.subarray(0, at));
    }
    expect(new X509Certificate(der).raw.equals(der)).toBe(true);
  });
});

test('a session that cannot be read counts as one without the extended master secret', () => {
  expect(hasExtendedMasterSecret(undefined)).toBe(false);
  expect(hasExtendedMasterSecret(Buffer.alloc(0))).toBe(false);
  expect(hasExtendedMasterSecret(Buffer.from('3003020101', 'hex'))).toBe(false);
});
