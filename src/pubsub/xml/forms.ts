import type { SubscriptionRecord } from '../../store/store.js';
import type { Element } from '../../xml/element.js';
import { type Field, type FormData, type FormType, NS_DATA, dataForm, readForm } from '../../xml/dataform.js';
import type { NodeFacts } from '../node.js';
import { type NodeConfig, type OptionKind, type Submitted, nodeOptionNames, optionKind } from '../options.js';
import { SUBSCRIPTION_OPTIONS, type SubscriptionOption, type SubscriptionOptions } from '../subscription-options.js';
import { NS_AUTHORIZATION, NS_META_DATA, NS_NODE_CONFIG, NS_SUBSCRIBE_OPTIONS } from './namespaces.js';

/** Prefix of all field names (XEP-0060 §16.4). */
const PREFIX = 'pubsub#';

function optionField(name: string, kind: OptionKind<unknown>, value: readonly string[]): Field {
  return {
    var: PREFIX + name,
    type: kind.field,
    label: kind.label,
    value,
    options: kind.choices?.map((choice) => ({ value: choice })),
  };
}

/** XEP-0060 §16.4.4. */
export function configurationForm(type: FormType, config: NodeConfig): Element {
  const fields = nodeOptionNames.map((name) => {
    const kind = optionKind(name);
    return optionField(name, kind, kind.write(config[name]));
  });
  return dataForm(type, NS_NODE_CONFIG, fields);
}

/** XEP-0060 §16.4.2. */
export function subscriptionForm(type: FormType, options: SubscriptionOptions): Element {
  const fields = Object.entries(SUBSCRIPTION_OPTIONS).map(([name, kind]) =>
    optionField(name, kind as OptionKind<unknown>, [options[name as SubscriptionOption]]),
  );
  return dataForm(type, NS_SUBSCRIBE_OPTIONS, fields);
}

/** Longest list of addresses that anybody is shown: owners may make them very long, and anybody may ask for them. */
const MOST_SHOWN = 100;

/** What anybody may know of a node (XEP-0060 §5.4, §16.4.3). */
export function metaDataForm(facts: NodeFacts, subscribers: number): Element {
  const { config } = facts.policy;
  const field = (name: string, type: Field['type'], label: string, value: string | readonly string[]): Field => ({
    var: PREFIX + name,
    type,
    label,
    value,
  });
  const people = (name: string, label: string, jids: readonly string[]): Field[] =>
    jids.length > MOST_SHOWN ? [] : [field(name, 'jid-multi', label, jids)];
  const known = (name: keyof NodeConfig): Field =>
    optionField(name, optionKind(name), optionKind(name).write(config[name]));
  return dataForm('result', NS_META_DATA, [
    known('title'),
    known('description'),
    known('type'),
    known('language'),
    known('contact'),
    field('creator', 'jid-single', 'Node creator', facts.creator),
    field('creation_date', 'text-single', 'Creation date', dateTime(facts.created)),
    ...people('owner', 'Node owners', facts.owners()),
    ...people('publisher', 'Publishers to this node', facts.holding('publisher')),
    known('access_model'),
    known('publish_model'),
    known('max_items'),
    field('num_subscribers', 'text-single', 'Number of subscribers to this node', String(subscribers)),
  ]);
}

/** XEP-0082 §3.2, to the second. */
function dateTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

/** What an owner is asked (XEP-0060 §8.6, §16.4.1). */
export function authorizationForm({ node, jid, subid }: SubscriptionRecord): Element {
  return dataForm(
    'form',
    NS_AUTHORIZATION,
    [
      { var: `${PREFIX}subid`, type: 'hidden', value: subid },
      { var: `${PREFIX}node`, type: 'text-single', label: 'Node ID', value: node },
      { var: `${PREFIX}subscriber_jid`, type: 'jid-single', label: 'Subscriber Address', value: jid },
      {
        var: `${PREFIX}allow`,
        type: 'boolean',
        label: 'Allow this JID to subscribe to this pubsub node?',
        value: 'false',
      },
    ],
    {
      title: 'PubSub subscriber request',
      instructions: "To approve this entity's subscription request, submit the form with the field below set to true.",
    },
  );
}

/** A submitted or cancelled form: option names come without their prefix. */
export interface SubmittedForm {
  type: FormData['type'];
  values: Submitted;
}

/** Reads the form of that FORM_TYPE inside `parent`: undefined when there is none, `malformed` when it is another. */
export function readOptions(parent: Element, formType: string): SubmittedForm | 'malformed' | undefined {
  const x = parent.child('x', NS_DATA);
  if (x === undefined) return undefined;
  const form = readForm(x);
  if (form === undefined || (form.type !== 'submit' && form.type !== 'cancel')) return 'malformed';
  if (form.type === 'submit' && form.formType !== formType) return 'malformed';
  const values = new Map<string, readonly string[]>();
  for (const [name, value] of form.values) {
    values.set(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name, value);
  }
  return { type: form.type, values };
}
