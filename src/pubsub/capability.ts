import type { Affiliation } from '../store/store.js';

/** What an entity may do at a node. */
export interface Capability {
  /** Where the access model leaves it open. */
  subscribe: boolean;
  retrieve: boolean;
  /** Whatever the publish model says. */
  publish: boolean;
  /** Which items it may delete: any, those that it published itself, or none. */
  retract: 'any' | 'own' | 'none';
  purge: boolean;
  configure: boolean;
  delete: boolean;
}

/**
 * XEP-0060 §4.1, Affiliations and their Privileges. The entries that the table marks with an asterisk are taken narrowly:
 * publishers delete what they published themselves, and purging (§8.5, an owner use case) stays with the owners.
 */
export const CAPABILITIES: Record<Affiliation, Readonly<Capability>> = {
  owner: capability('subscribe retrieve publish purge configure delete', 'any'),
  publisher: capability('subscribe retrieve publish', 'own'),
  'publish-only': capability('publish', 'own'),
  member: capability('subscribe retrieve', 'none'),
  none: capability('subscribe', 'none'),
  outcast: capability('', 'none'),
};

function capability(may: string, retract: Capability['retract']): Capability {
  const list = may.split(' ');
  const has = (name: string): boolean => list.includes(name);
  return {
    subscribe: has('subscribe'),
    retrieve: has('retrieve'),
    publish: has('publish'),
    retract,
    purge: has('purge'),
    configure: has('configure'),
    delete: has('delete'),
  };
}

/**
 * XEP-0060 §4.1, Affiliation State Chart: what an owner may turn an affiliation into. Publish-only is not in the chart; it moves as
 * publisher does.
 */
export const TRANSITIONS: Record<Affiliation, readonly Affiliation[]> = {
  outcast: ['none', 'member', 'publisher', 'publish-only', 'owner'],
  none: ['outcast', 'member', 'publisher', 'publish-only', 'owner'],
  member: ['outcast', 'none', 'publisher', 'publish-only', 'owner'],
  publisher: ['outcast', 'none', 'publish-only', 'owner'],
  'publish-only': ['outcast', 'none', 'publisher', 'owner'],
  owner: ['none'],
};

export function isAffiliation(value: string): value is Affiliation {
  return Object.hasOwn(CAPABILITIES, value);
}
