import type { Element } from '../../xml/element.js';
import { readPageRequest } from '../../xml/rsm.js';
import { readBoolean } from '../options.js';
import { Refusal, unsupported } from '../refusals.js';
import type { Reference } from '../subscribing.js';
import type { Action } from './actions.js';
import { type SubmittedForm, readOptions } from './forms.js';
import { NS_NODE_CONFIG, NS_OWNER, NS_PUBLISH_OPTIONS, NS_PUBSUB, NS_SUBSCRIBE_OPTIONS } from './namespaces.js';

/** Reads the `<pubsub/>` of an iq. `element` is its child of that name. */
type Parser = (element: Element, pubsub: Element) => Action | Refusal;

/** What every request of the XEP looks like, by its iq type, its namespace's last part, and its name. */
const PARSERS: Record<string, Parser> = {
  'set pubsub create': create,
  'set pubsub publish': publish,
  'set pubsub retract': retract,
  'get pubsub items': items,
  'set pubsub subscribe': subscribe,
  'set pubsub unsubscribe': (element) =>
    withNode(element, (node) => ({ kind: 'unsubscribe', ...reference(element, node) })),
  'get pubsub options': (element) =>
    withNode(element, (node) => ({ kind: 'subscription-options', ...reference(element, node) })),
  'set pubsub options': (element) =>
    withNode(element, (node) =>
      withForm(readOptions(element, NS_SUBSCRIBE_OPTIONS), 'invalid-options', (options) => ({
        kind: 'configure-subscription',
        ...reference(element, node),
        options,
      })),
    ),
  'get pubsub default': (element) => ({ kind: 'default-subscription-options', node: nodeOf(element) }),
  'get pubsub subscriptions': (element) => ({ kind: 'own-subscriptions', node: nodeOf(element) }),
  'get pubsub affiliations': (element) => ({ kind: 'own-affiliations', node: nodeOf(element) }),
  'get owner configure': (element) => withNode(element, (node) => ({ kind: 'configuration', node })),
  'set owner configure': (element) =>
    withNode(element, (node) =>
      withForm(readOptions(element, NS_NODE_CONFIG), 'bad-request', (config) => ({ kind: 'configure', node, config })),
    ),
  'get owner default': (element) =>
    (element.attr('type') ?? 'leaf') === 'leaf' ? { kind: 'default-configuration' } : unsupported('collections'),
  'set owner delete': (element) =>
    withNode(element, (node) => ({ kind: 'delete', node, redirect: element.child('redirect')?.attr('uri') })),
  'set owner purge': (element) => withNode(element, (node) => ({ kind: 'purge', node })),
  'get owner subscriptions': (element) => withNode(element, (node) => ({ kind: 'subscribers', node })),
  'set owner subscriptions': (element) =>
    withNode(element, (node) => ({
      kind: 'set-subscribers',
      node,
      changes: element.elements('subscription').map((entry) => ({
        jid: entry.attr('jid') ?? '',
        state: entry.attr('subscription'),
        subid: entry.attr('subid'),
      })),
    })),
  'get owner affiliations': (element) => withNode(element, (node) => ({ kind: 'affiliated', node })),
  'set owner affiliations': (element) =>
    withNode(element, (node) => ({
      kind: 'set-affiliations',
      node,
      changes: element.elements('affiliation').map((entry) => ({
        jid: entry.attr('jid') ?? '',
        affiliation: entry.attr('affiliation'),
      })),
    })),
};

const KNOWN_NAMES = new Set(Object.keys(PARSERS).map((key) => key.slice('get '.length)));
/** Children that only come beside another one. */
const COMPANIONS = new Set(['pubsub configure', 'pubsub options', 'pubsub publish-options']);

const NAMESPACES: Record<string, string> = { [NS_PUBSUB]: 'pubsub', [NS_OWNER]: 'owner' };

/** Whether the payload of an iq is a request of XEP-0060. */
export function isPubsub(payload: Element): boolean {
  return payload.name === 'pubsub' && Object.hasOwn(NAMESPACES, payload.ns);
}

export function parse(type: 'get' | 'set', pubsub: Element): Action | Refusal {
  const space = NAMESPACES[pubsub.ns]!;
  const children = pubsub.elements().filter((child) => child.ns === pubsub.ns);
  const [element] = children;
  if (element === undefined) return new Refusal('bad-request', 'there is nothing in it');
  const name = `${space} ${element.name}`;
  const parser = PARSERS[`${type} ${name}`];
  if (parser !== undefined) return parser(element, pubsub);
  // Known, but not like this; or at the wrong place (§6.3.7, §8.1.3).
  if (KNOWN_NAMES.has(name) || COMPANIONS.has(name)) return new Refusal('bad-request');
  return unsupported(element.name);
}

// --- what they have in common ------------------------------------------------------------------------------------------------

/** An empty NodeID stands for the root collection (XEP-0248), which is not here. */
function nodeOf(element: Element): string | undefined {
  return element.attr('node') || undefined;
}

function withNode(element: Element, make: (node: string) => Action | Refusal): Action | Refusal {
  const node = nodeOf(element);
  return node === undefined ? new Refusal('nodeid-required') : make(node);
}

/** A form that is cancelled leaves all as it is (XEP-0060 §8.2.4). */
function withForm(
  form: SubmittedForm | 'malformed' | undefined,
  refusal: 'bad-request' | 'invalid-options',
  make: (values: SubmittedForm['values'] | undefined) => Action,
): Action | Refusal {
  if (form === undefined || form === 'malformed') return new Refusal(refusal, 'a submitted data form is needed');
  return make(form.type === 'submit' ? form.values : undefined);
}

function reference(element: Element, node: string): Reference {
  return { node, jid: element.attr('jid'), subid: element.attr('subid') };
}

// --- requests with more to them -----------------------------------------------------------------------------------------------

/** §8.1.2, §8.1.3. */
function create(element: Element, pubsub: Element): Action | Refusal {
  if ((element.attr('type') ?? 'leaf') !== 'leaf') return unsupported('collections');
  const node = nodeOf(element);
  const configure = pubsub.child('configure');
  if (configure === undefined) return { kind: 'create', node, config: undefined };
  if (configure.attr('node') !== undefined) return new Refusal('bad-request', 'configure must not name a node');
  const form = readOptions(configure, NS_NODE_CONFIG);
  if (form === 'malformed') return new Refusal('bad-request', 'this is no node configuration form');
  return { kind: 'create', node, config: form?.type === 'submit' ? form.values : undefined };
}

/** §6.1.1, §6.3.7. */
function subscribe(element: Element, pubsub: Element): Action | Refusal {
  return withNode(element, (node) => {
    const jid = element.attr('jid');
    const options = pubsub.child('options');
    if (options === undefined) return { kind: 'subscribe', node, jid, options: undefined };
    if (options.attr('node') !== undefined || options.attr('jid') !== undefined) return new Refusal('bad-request');
    const form = readOptions(options, NS_SUBSCRIBE_OPTIONS);
    if (form === 'malformed') return new Refusal('invalid-options');
    return { kind: 'subscribe', node, jid, options: form?.type === 'submit' ? form.values : undefined };
  });
}

/** §7.1.1, §7.1.5. */
function publish(element: Element, pubsub: Element): Action | Refusal {
  return withNode(element, (node) => {
    const given = element.elements('item');
    // Batches were taken out of the protocol (§7.1.1).
    if (given.length > 1) return new Refusal('bad-request', 'only one item can be published at a time');
    const options = readPreconditions(pubsub);
    if (options instanceof Refusal) return options;
    const [item] = given;
    if (item === undefined) return { kind: 'publish', node, item: undefined, options };
    const payloads = item.elements();
    // §7.1.3.6: exactly one element, and nothing beside it.
    if (payloads.length > 1 || item.text().trim() !== '') return new Refusal('invalid-payload');
    const [payload] = payloads;
    return {
      kind: 'publish',
      node,
      item: {
        id: item.attr('id'),
        payload: payload && { bytes: Buffer.from(payload.serialize(NO_NS)), ns: payload.ns },
      },
      options,
    };
  });
}

function readPreconditions(pubsub: Element): SubmittedForm['values'] | undefined | Refusal {
  const element = pubsub.child('publish-options');
  if (element === undefined) return undefined;
  const form = readOptions(element, NS_PUBLISH_OPTIONS);
  if (form === undefined || form === 'malformed' || form.type !== 'submit') {
    return new Refusal('bad-request', 'publish-options must contain a submitted data form');
  }
  return form.values;
}

/** §7.2.1, with several items as §12.11 allows. */
function retract(element: Element): Action | Refusal {
  return withNode(element, (node) => {
    const ids = element.elements('item').map((item) => item.attr('id') ?? '');
    if (ids.length === 0 || ids.includes('')) return new Refusal('item-required');
    const notify = element.attr('notify');
    return { kind: 'retract', node, ids, notify: notify === undefined ? undefined : readBoolean([notify]) };
  });
}

/** §6.5. */
function items(element: Element, pubsub: Element): Action | Refusal {
  return withNode(element, (node) => {
    const ids = element.elements('item').map((item) => item.attr('id') ?? '');
    if (ids.includes('')) return new Refusal('bad-request', 'an item without an id is asked for');
    const written = element.attr('max_items');
    // xs:positiveInteger (§17.1).
    if (written !== undefined && !/^\+?0*[1-9]\d{0,14}$/.test(written)) {
      return new Refusal('bad-request', 'max_items must be a positive number');
    }
    const page = readPageRequest(pubsub) ?? readPageRequest(element);
    if (page === 'malformed') return new Refusal('bad-request', 'the result set cannot be managed like that');
    const max = written === undefined ? undefined : Number(written);
    return { kind: 'retrieve', node, ids, max, subid: element.attr('subid'), page };
  });
}

/** Equal to no namespace, so that a payload always declares its own and can stand anywhere. */
const NO_NS = ' ';
