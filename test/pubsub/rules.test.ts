import { describe, expect, it } from 'vitest';
import { judge } from '../../src/pubsub/affiliating.js';
import { CAPABILITIES, TRANSITIONS } from '../../src/pubsub/capability.js';
import { freshId } from '../../src/pubsub/ids.js';
import { NodeFacts, Policies } from '../../src/pubsub/node.js';
import { BadOption, change, condense, defaultConfig, expand, meets } from '../../src/pubsub/options.js';
import { REFUSALS } from '../../src/pubsub/refusals.js';
import { PUBSUB_FEATURES } from '../../src/pubsub/xml/features.js';
import { CONDITIONS } from '../../src/stream/stanza-error.js';
import type { Affiliation, NodeRecord } from '../../src/store/store.js';

const limits = { itemsPerNode: 1000, payloadBytes: 65536 };

describe('affiliations and their privileges (§4.1)', () => {
  // Subscribe, retrieve, publish, delete an item, purge, configure, delete the node.
  it.each<[Affiliation, string]>([
    ['owner', 'yes yes yes any yes yes yes'],
    ['publisher', 'yes yes yes own no no no'],
    ['publish-only', 'no no yes own no no no'],
    ['member', 'yes yes no none no no no'],
    ['none', 'yes no no none no no no'],
    ['outcast', 'no no no none no no no'],
  ])('%s', (affiliation, row) => {
    const { subscribe, retrieve, publish, retract, purge, configure, delete: remove } = CAPABILITIES[affiliation];
    const word = (value: boolean): string => (value ? 'yes' : 'no');
    const shown = [...[subscribe, retrieve, publish].map(word), retract, ...[purge, configure, remove].map(word)];
    expect(shown.join(' ')).toBe(row);
  });

  it('change by the state chart', () => {
    expect(TRANSITIONS.owner).toEqual(['none']);
    expect(TRANSITIONS.publisher).not.toContain('member');
    for (const from of ['outcast', 'none', 'member', 'publisher', 'publish-only'] as const) {
      expect(TRANSITIONS[from]).toContain('owner');
    }
  });

  it('leave at least one owner, whatever is asked at once', () => {
    const now: Record<string, Affiliation> = { 'a@x': 'owner', 'b@x': 'owner' };
    const both = judge(
      now,
      new Map([
        ['a@x', 'none'],
        ['b@x', 'none'],
      ]),
    );
    expect([both.affiliations, both.refused]).toEqual([{ 'b@x': 'owner' }, [{ jid: 'b@x', value: 'owner' }]]);
    const swap = judge(
      { 'a@x': 'owner' },
      new Map([
        ['a@x', 'none'],
        ['c@x', 'owner'],
      ]),
    );
    expect([swap.affiliations, swap.refused]).toEqual([{ 'c@x': 'owner' }, []]);
  });

  it('are of whatever host there is', () => {
    const { affiliations, refused } = judge({ 'a@x': 'owner' }, new Map([['constructor', 'member']]));
    expect([affiliations, refused]).toEqual([{ 'a@x': 'owner', constructor: 'member' }, []]);
  });

  it.each([
    ['publishers', 'none', false],
    ['publishers', 'publisher', true],
    ['publishers', 'publish-only', true],
    ['publishers', 'member', false],
    ['open', 'none', true],
    ['open', 'member', true],
    ['open', 'outcast', false],
    ['subscribers', 'none', false],
    ['subscribers', 'owner', true],
  ])('with publish model %s let %s publish: %s', (publish_model, affiliation, allowed) => {
    const record = {
      creator: 'owner@x',
      affiliations: { 'owner@x': 'owner', 'u@x': affiliation },
    } as unknown as NodeRecord;
    const facts = new NodeFacts(record, new Policies(limits).of({ publish_model }));
    expect(facts.mayPublish('u@x')).toBe(allowed && true);
    expect(facts.mayPublish('owner@x')).toBe(true);
  });
});

describe('node options', () => {
  const base = defaultConfig(limits);
  const submit = (values: Record<string, string[]>): ReturnType<typeof change> =>
    change(base, new Map(Object.entries(values)), limits);

  it('read both spellings of booleans, numbers, max, and choices', () => {
    expect(
      submit({ persist_items: ['false'], notify_sub: ['1'], max_items: ['max'], item_expire: [' 60 '] }),
    ).toMatchObject({
      persist_items: false,
      notify_sub: true,
      max_items: 'max',
      item_expire: 60,
    });
  });

  it.each([
    ['max_items', ['1001']],
    ['max_items', ['1', '2']],
    ['max_items', ['1.5']],
    ['persist_items', ['yes']],
    ['access_model', ['roster']],
    ['max_payload_size', ['0']],
    ['contact', ['a@b', '@']],
  ])('refuse %s=%s', (name, values) => {
    expect(submit({ [name]: values })).toBeInstanceOf(BadOption);
  });

  it('are stored as what differs from the defaults, and come back the same', () => {
    const config = submit({ title: ['x'], contact: ['a@b', 'c@d'], max_items: ['max'], notify_delete: ['1'] });
    if (config instanceof BadOption) throw new Error(config.name);
    const sparse = condense(config, limits);
    expect(sparse).toEqual({ title: 'x', contact: ['a@b', 'c@d'], max_items: 'max' });
    expect(expand(sparse, limits)).toEqual(config);
    // Narrower limits since then: the default holds.
    expect(expand({ max_items: '500' }, { ...limits, itemsPerNode: 100 }).max_items).toBe(10);
  });

  it('meet preconditions by their meaning, not their spelling', () => {
    const options = (values: Record<string, string[]>): boolean => meets(base, new Map(Object.entries(values)), limits);
    expect(options({ persist_items: ['true'], max_items: ['10'], access_model: ['open'] })).toBe(true);
    expect(options({ persist_items: ['0'] })).toBe(false);
    expect(options({ sparkle: ['1'] })).toBe(false);
    expect(options({ max_items: ['x'] })).toBe(false);
  });

  it.each([
    [`<v xmlns='urn:x'/>`, true],
    [`<v xmlns="urn:x">1</v>`, true],
    [`<v xmlns='urn:xy'/>`, false],
    [`<v xmlns='urn:y' a="xmlns='urn:x'"/>`, false],
    [`<p:v xmlns='urn:x' xmlns:p='urn:y'/>`, false],
    [`<v>1 xmlns='urn:x'</v>`, false],
    [`<v a='1' xmlns='urn:x'/>`, false],
    [`<v/>`, false],
  ])('know the payload %s as one of the configured namespace at a glance: %s', (payload, fits) => {
    expect(new Policies(limits).of({ type: 'urn:x' }).fits(Buffer.from(payload))).toBe(fits);
  });

  it('share one policy among nodes of the same configuration', () => {
    const policies = new Policies(limits);
    expect(policies.of({ title: 'a' })).toBe(policies.of({ title: 'a' }));
    expect(policies.of({})).not.toBe(policies.of({ title: 'a' }));
    // Shared ones are kept for good, so long ones are not shared.
    expect(policies.of({ title: 'a'.repeat(2000) })).not.toBe(policies.of({ title: 'a'.repeat(2000) }));
  });
});

describe('catalogues', () => {
  it('name only conditions of RFC 6120 and errors and features of the XEP', () => {
    for (const { condition } of Object.values(REFUSALS)) expect(CONDITIONS).toHaveProperty(condition);
    expect(new Set(PUBSUB_FEATURES).size).toBe(PUBSUB_FEATURES.length);
  });

  it('never give an id twice', () => {
    const ids = new Set(Array.from({ length: 10_000 }, freshId));
    expect(ids.size).toBe(10_000);
    for (const id of ids) expect(id).toMatch(/^[a-z0-9-]+$/);
  });
});
