import { describe, expect, it } from 'vitest';
import { defaults } from '../../src/config/config.js';
import type { Feature } from '../../src/features/feature.js';
import { Quota } from '../../src/features/quota.js';
import { FeatureSet } from '../../src/features/registry.js';
import { el } from '../../src/xml/element.js';
import { household } from './harness.js';

const feature = (more: Partial<Feature>): Feature => ({ spec: 'XEP-0000', title: 'T', version: '1', ...more });

describe('the set of features', () => {
  it('finds the handler of a route for the target it was declared for, and no other', () => {
    const handler = () => undefined;
    const set = new FeatureSet([feature({ routes: { server: { 'iq:get:n:q': handler } } })]);
    expect(set.handler('server', 'iq:get:n:q')).toBe(handler);
    expect(set.handler('server', 'iq:set:n:q')).toBeUndefined();
    expect(set.handler('account', 'iq:get:n:q')).toBeUndefined();
    expect(set.handler('server', 'iq:get:toString:constructor')).toBeUndefined();
  });

  it('refuses two features that want the same route', () => {
    const routes = { server: { 'iq:get:n:q': () => undefined } } as const;
    expect(() => new FeatureSet([feature({ routes }), feature({ spec: 'XEP-0001', routes })])).toThrow(
      'XEP-0001: iq:get:n:q of server is taken by another feature',
    );
  });

  it('joins what the features say to service discovery and streams', () => {
    const set = new FeatureSet([
      feature({ disco: { server: ['b', 'a'] }, streamFeatures: () => [el('one', 'x')], forms: () => [el('f', 'y')] }),
      feature({ disco: { server: ['a', 'c'], pubsub: ['d'] }, streamFeatures: (config) => [el(config.domain, '')] }),
    ]);
    expect(set.disco('server')).toEqual(['a', 'b', 'c']);
    expect(set.disco('pubsub')).toEqual(['d']);
    expect(set.disco('account')).toEqual([]);
    expect(set.streamFeatures(defaults())).toBe("<one xmlns='x'/><localhost xmlns=''/>");
    expect(set.forms(defaults()).map(String)).toEqual(["<f xmlns='y'/>"]);
  });
});

describe('an authenticated stream', () => {
  it('offers binding first, then sessions, stream management and its limits', async () => {
    const { set, config } = await household();
    expect(set.streamFeatures(config)).toBe(
      "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" +
        "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>" +
        "<sm xmlns='urn:xmpp:sm:3'/>" +
        "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>262144</max-bytes><idle-seconds>120</idle-seconds></limits>",
    );
  });

  it('does not offer what the configuration turns off', async () => {
    const { set, config } = await household((off) => {
      off.sm.enabled = false;
      off.keepalive.ping_after_seconds = 0;
    });
    const offered = set.streamFeatures(config);
    expect(offered).not.toContain('urn:xmpp:sm:3');
    expect(offered).not.toContain('idle-seconds');
  });
});

describe('a quota', () => {
  it('gives each key so many in a window, and again in the next', () => {
    let now = 1000;
    const quota = new Quota(2, 60, () => now);
    expect([quota.take('a'), quota.take('a'), quota.take('a'), quota.take('b')]).toEqual([true, true, false, true]);
    now += 59;
    expect(quota.take('a')).toBe(false);
    now += 1;
    expect(quota.take('a')).toBe(true);
  });
});
