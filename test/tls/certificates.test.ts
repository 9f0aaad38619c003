import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Authority, selfSigned } from './authority.js';
import { folder, openStore, serve, write } from './harness.js';

describe('the self-signed certificate', () => {
  test('is made at the first start for the domain and its services, and kept', async () => {
    const data_dir = join(await folder(), 'data');
    const { store, logged } = await openStore({ data_dir, domain: 'thrum.example' });
    const { certificate, key } = store.files;
    const made = new X509Certificate(await readFile(certificate));
    for (const name of ['thrum.example', 'pubsub.thrum.example', 'localhost']) expect(made.checkHost(name)).toBe(name);
    for (const address of ['127.0.0.1', '::1']) expect(made.checkIP(address)).toBeDefined();
    expect(made.checkHost('other.example')).toBeUndefined();
    expect(made.ca).toBe(false);
    expect(Date.parse(made.validTo)).toBe(store.expires);
    expect(store.expires).toBeGreaterThan(Date.now() + 9 * 365 * 86_400_000);
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    expect((await stat(join(data_dir, 'tls'))).mode & 0o777).toBe(0o700);
    expect(logged).toEqual([{ level: 'info', text: 'made a self-signed certificate' }]);

    const again = await openStore({ data_dir, domain: 'thrum.example' });
    expect(again.store.pem).toEqual(store.pem);
    expect(again.logged).toEqual([]);
  });

  test('is one and the same for all workers that start at once', async () => {
    const data_dir = await folder();
    const stores = await Promise.all(Array.from({ length: 6 }, () => openStore({ data_dir })));
    expect(new Set(stores.map(({ store }) => store.pem.certificate)).size).toBe(1);
    expect(await readdir(data_dir)).toEqual(['tls']);
  });

  test('is made anew for another domain, and when it has expired or is damaged', async () => {
    const data_dir = await folder();
    const first = await openStore({ data_dir });
    const second = await openStore({ data_dir, domain: 'thrum.example' });
    expect(second.store.pem.certificate).not.toBe(first.store.pem.certificate);

    const expired = selfSigned({ dns: ['localhost', 'pubsub.localhost'], notAfter: new Date(Date.now() - 1000) });
    await writeFile(second.store.files.certificate, expired.certificate);
    const third = await openStore({ data_dir, domain: 'thrum.example' });
    expect(third.store.expires).toBeGreaterThan(Date.now());

    await writeFile(third.store.files.certificate, 'oops');
    const fourth = await openStore({ data_dir, domain: 'thrum.example' });
    expect(fourth.store.pem.certificate).toContain('BEGIN CERTIFICATE');
    expect(await readdir(data_dir)).toEqual(['tls']);
  });

  test('can be for an internationalised domain and for an address', async () => {
    const data_dir = await folder();
    const { store, logged } = await openStore({ data_dir, domain: 'bücher.example' });
    expect(new X509Certificate(store.pem.certificate).checkHost('pubsub.xn--bcher-kva.example')).toBeDefined();
    expect(logged.filter(({ level }) => level === 'warn')).toEqual([]);
    const numeric = await openStore({ data_dir, domain: '[2001:db8::1]' });
    expect(new X509Certificate(numeric.store.pem.certificate).checkIP('2001:db8::1')).toBeDefined();
    expect(numeric.logged.filter(({ level }) => level === 'warn')).toEqual([]);
  });

  test('serves both TLS versions, and no older one', async () => {
    const { store } = await openStore({ data_dir: await folder() });
    const { handshake } = await serve(store);
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { client } = await handshake({
        minVersion: version,
        maxVersion: version,
        ca: store.pem.certificate,
        rejectUnauthorized: true,
      });
      expect(client.getProtocol()).toBe(version);
      expect(client.authorized).toBe(true);
    }
    await expect(
      handshake({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toThrow(/protocol version/i);
    await expect(handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' })).rejects.toThrow(
      /handshake failure/i,
    );
  });
});

describe('a configured certificate', () => {
  test.each<[string, (path: string) => Promise<{ certificate: string; key?: string; client_ca?: string }>, RegExp]>([
    ['that is not there', async (path) => ({ certificate: join(path, 'none.crt') }), /cannot read .*none\.crt.*ENOENT/],
    [
      'that is no PEM',
      async (path) => {
        await writeFile(join(path, 'a.crt'), 'x');
        return { certificate: join(path, 'a.crt') };
      },
      /a\.crt is not a PEM certificate/,
    ],
    [
      'without its key',
      async (path) => {
        const { certificate } = await write(path, selfSigned());
        return { certificate };
      },
      /server\.crt is not an unencrypted PEM private key/,
    ],
    [
      'with the key of another',
      async (path) => {
        const { certificate } = await write(path, selfSigned());
        const { key } = await write(path, selfSigned(), 'other');
        return { certificate, key };
      },
      /the key in .*other\.key does not belong to the certificate in .*server\.crt/,
    ],
    [
      'with authorities that are none',
      async (path) => {
        const pair = await write(path, selfSigned());
        await writeFile(join(path, 'ca.pem'), 'x');
        return { ...pair, client_ca: join(path, 'ca.pem') };
      },
      /ca\.pem is not a PEM certificate/,
    ],
  ])('%s is refused with the file and the reason', async (_what, prepare, message) => {
    const place = await prepare(await folder());
    await expect(openStore(place)).rejects.toThrow(message);
    await expect(openStore(place)).rejects.toMatchObject({ name: 'CertificateError' });
  });

  test('may share a file with its key', async () => {
    const issued = selfSigned({ dns: ['localhost'] });
    const file = join(await folder(), 'both.pem');
    await writeFile(file, issued.certificate + issued.key);
    const { store } = await openStore({ certificate: file });
    expect(store.files).toMatchObject({ certificate: file, key: file });
    const { client } = await (await serve(store)).handshake();
    expect(client.getPeerX509Certificate()!.raw.equals(issued.der)).toBe(true);
  });

  test('that has expired, is not valid yet or is for others is used with a warning', async () => {
    const path = await folder();
    const warned = async (wish: Parameters<typeof selfSigned>[0]) => {
      const { logged } = await openStore(await write(path, selfSigned(wish)));
      return logged.map(({ level, text }) => `${level}: ${text}`).join();
    };
    expect(await warned({ dns: ['localhost'] })).toBe('');
    expect(await warned({ dns: ['localhost'], notAfter: new Date(Date.now() - 1000) })).toMatch(
      /warn: .*has expired on/,
    );
    expect(await warned({ dns: ['localhost'], notBefore: new Date(Date.now() + 60_000) })).toMatch(
      /warn: .*not valid before/,
    );
    expect(await warned({ dns: ['other.example'] })).toBe('warn: the certificate is not for localhost');
  });
});

describe('reloading', () => {
  test('gives the new certificate to new connections and leaves the open ones alone', async () => {
    const path = await folder();
    const [one, two] = [selfSigned({ dns: ['localhost'] }), selfSigned({ dns: ['localhost'] })];
    const files = await write(path, one);
    const { store, logged } = await openStore(files);
    const { handshake } = await serve(store);
    const old = await handshake();
    let told = 0;
    store.onReload(() => told++);
    await write(path, two);
    expect(await store.reload()).toBe(true);
    expect(told).toBe(1);
    expect(store.pem.certificate).toBe(two.certificate);
    const fresh = await handshake();
    expect(old.client.getPeerX509Certificate()!.raw.equals(one.der)).toBe(true);
    expect(fresh.client.getPeerX509Certificate()!.raw.equals(two.der)).toBe(true);
    const echoed = new Promise((resolve) => old.client.once('data', (data) => resolve(data.toString())));
    old.server.write('still here');
    expect(await echoed).toBe('still here');
    expect(logged.at(-1)).toEqual({ level: 'info', text: 'certificate reloaded' });
  });

  test('keeps the old pair when the new one cannot be used, and says why', async () => {
    const path = await folder();
    const one = selfSigned({ dns: ['localhost'] });
    const files = await write(path, one);
    const { store, logged } = await openStore(files);
    const before = store.tlsOptions('direct');
    let told = 0;
    store.onReload(() => told++);
    await writeFile(files.key, selfSigned().key);
    expect(await store.reload()).toBe(false);
    expect(logged.at(-1)!.text).toMatch(/the old one stays in use: the key in .* does not belong/);
    expect(store.tlsOptions('direct')).toBe(before);
    expect(told).toBe(0);
    const { client } = await (await serve(store)).handshake();
    expect(client.getPeerX509Certificate()!.raw.equals(one.der)).toBe(true);
    await writeFile(files.key, one.key);
    expect(await store.reload()).toBe(true);
  });

  test('asked twice at once happens once', async () => {
    const { store, logged } = await openStore(await write(await folder(), selfSigned({ dns: ['localhost'] })));
    expect(await Promise.all([store.reload(), store.reload()])).toEqual([true, true]);
    expect(logged).toHaveLength(1);
  });

  test('takes a new list of authorities for client certificates', async () => {
    const path = await folder();
    const files = await write(path, selfSigned({ dns: ['localhost'] }));
    const client_ca = join(path, 'ca.pem');
    await writeFile(client_ca, new Authority().issued.certificate);
    const { store } = await openStore({ ...files, client_ca });
    expect(store.tlsOptions('starttls').requestCert).toBe(true);
    const next = new Authority().issued.certificate;
    await writeFile(client_ca, next);
    expect(await store.reload()).toBe(true);
    expect(store.pem.clientCa).toBe(next);
  });
});

describe('ALPN (RFC 7301, XEP-0368)', () => {
  test('on direct TLS: xmpp-client or nothing', async () => {
    const { store } = await openStore({ data_dir: await folder() });
    const { handshake } = await serve(store, 'direct');
    expect((await handshake({ ALPNProtocols: ['h2', 'xmpp-client'] })).client.alpnProtocol).toBe('xmpp-client');
    expect((await handshake()).client.alpnProtocol).toBe(false);
    await expect(handshake({ ALPNProtocols: ['h2', 'xmpp-server'] })).rejects.toThrow(/no application protocol/i);
  });

  test('after STARTTLS it says nothing', async () => {
    const { store } = await openStore({ data_dir: await folder() });
    const { handshake } = await serve(store, 'starttls');
    expect((await handshake({ ALPNProtocols: ['h2'] })).client.alpnProtocol).toBe(false);
  });
});

test('whatever name the client asks for, it gets the certificate', async () => {
  const { store } = await openStore({ data_dir: await folder() });
  const { handshake } = await serve(store);
  for (const servername of ['localhost', 'other.example', '']) {
    const { client, server } = await handshake({ servername });
    expect(client.getPeerX509Certificate()!.raw.equals(new X509Certificate(store.pem.certificate).raw)).toBe(true);
    expect(server.servername || '').toBe(servername);
  }
});

test('a folder that cannot be written is named', async () => {
  const path = await folder();
  await mkdir(join(path, 'data'));
  await writeFile(join(path, 'data', 'tls'), 'in the way');
  await expect(openStore({ data_dir: join(path, 'data') })).rejects.toThrow(/tls/);
});

describe('session tickets', () => {
  test('of one worker are good at another with the same ticket keys, and not with others', async () => {
    const files = await write(await folder(), selfSigned({ dns: ['localhost'] }));
    const ticketKeys = Buffer.alloc(48, 1);
    const [one, two] = await Promise.all([openStore({ ...files, ticketKeys }), openStore({ ...files, ticketKeys })]);
    const other = await openStore({ ...files, ticketKeys: Buffer.alloc(48, 2) });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const first = await serve(one.store);
      const { client, server } = await first.handshake({ maxVersion });
      const session = new Promise<Buffer>((resolve) => client.once('session', resolve));
      server.write('x');
      const ticket = maxVersion === 'TLSv1.2' ? client.getSession()! : await session;
      const again = await (await serve(two.store)).handshake({ maxVersion, session: ticket });
      expect(again.client.isSessionReused()).toBe(true);
      const refused = await (await serve(other.store)).handshake({ maxVersion, session: ticket });
      expect(refused.client.isSessionReused()).toBe(false);
    }
  });
});
