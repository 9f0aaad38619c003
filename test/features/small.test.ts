import { describe, expect, it } from 'vitest';
import { zoneOffset } from '../../src/features/time.js';
import { el } from '../../src/xml/element.js';
import { household, query } from './harness.js';

describe('ping', () => {
  it.each(['server', 'account', 'pubsub'] as const)('is answered for the %s', async (target) => {
    const { ask } = await household();
    expect(await ask(target, 'get', el('ping', 'urn:xmpp:ping'))).toBe('empty result');
    expect(await ask(target, 'set', el('ping', 'urn:xmpp:ping'))).toBe('no handler');
  });

  it('is not answered for other accounts', async () => {
    const { ask } = await household();
    expect(await ask('contact', 'get', el('ping', 'urn:xmpp:ping'))).toBe('no handler');
  });
});

describe('software version', () => {
  it('tells name and version, not the operating system', async () => {
    const { ask } = await household();
    expect(await ask('server', 'get', query('jabber:iq:version'))).toBe(
      "<query xmlns='jabber:iq:version'><name>Thrum</name><version>1.2.3</version></query>",
    );
  });
});

describe('entity time', () => {
  it('is now, in UTC, with the offset of the local zone', async () => {
    const { ask } = await household();
    const before = Date.now();
    const told = /^<time xmlns='urn:xmpp:time'><tzo>([+-]\d\d:\d\d)<\/tzo><utc>(.*)<\/utc><\/time>$/.exec(
      (await ask('server', 'get', el('time', 'urn:xmpp:time')))!,
    )!;
    expect(told[1]).toBe(zoneOffset(new Date().getTimezoneOffset()));
    expect(Date.parse(told[2]!)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(told[2]!)).toBeLessThanOrEqual(Date.now());
    expect(told[2]).toMatch(/Z$/);
  });

  it.each([
    [0, '+00:00'],
    [-60, '+01:00'],
    [360, '-06:00'],
    [-345, '+05:45'],
    [210, '-03:30'],
  ])('writes an offset of %i minutes as %s', (minutes, written) => {
    expect(zoneOffset(minutes)).toBe(written);
  });
});

describe('last activity', () => {
  it('is how long the server has been running', async () => {
    const { ask } = await household();
    expect(await ask('server', 'get', query('jabber:iq:last'))).toMatch(
      /^<query xmlns='jabber:iq:last' seconds='12345[6-9]'\/>$/,
    );
  });

  it('of accounts is nobody’s to know', async () => {
    const { ask } = await household();
    expect(await ask('account', 'get', query('jabber:iq:last'))).toBe('no handler');
    expect(await ask('contact', 'get', query('jabber:iq:last'))).toBe('no handler');
  });
});

describe('establishing a session', () => {
  it('does nothing and succeeds, as old clients expect', async () => {
    const { ask } = await household();
    expect(await ask('account', 'set', el('session', 'urn:ietf:params:xml:ns:xmpp-session'))).toBe('empty result');
    expect(await ask('server', 'set', el('session', 'urn:ietf:params:xml:ns:xmpp-session'))).toBe('empty result');
  });
});
