import type { Config } from '../config/config.js';
import { localpart } from '../jid/precis.js';
import { count, counters } from '../metrics/counters.js';
import { endSessions } from '../session/bind.js';
import { refuse, type StanzaError } from '../stream/stanza-error.js';
import type { Session } from '../session/session.js';
import { StoreError } from '../store/store.js';
import { source } from '../stream/source.js';
import type { Accounts } from '../stream/sasl/accounts.js';
import { DerivationBusy } from '../stream/sasl/derivation.js';
import { el, type Element } from '../xml/element.js';
import { defineFeature, type Feature, type IqAnswer, type IqRequest, type Route } from './feature.js';
import { Quota } from './quota.js';

const NS_REGISTER = 'jabber:iq:register';
const HOUR = 3_600_000;

/** Accounts that each address may still make, by the accounts that they are made among. */
const quotas = new WeakMap<Accounts, Quota>();

/** The fields that a new account needs (XEP-0077 §3.1). */
export function registrationForm(): Element {
  return el(
    'query',
    NS_REGISTER,
    {},
    el('instructions', NS_REGISTER, {}, 'Choose a username and password for use with this service.'),
    el('username', NS_REGISTER),
    el('password', NS_REGISTER),
  );
}

/** Before authentication (XEP-0077 §3.1.1): `address` is the peer's IP address, which the quota counts. */
export async function registration(
  config: Config,
  accounts: Accounts,
  type: 'get' | 'set',
  query: Element,
  address: string,
): Promise<Element | StanzaError | undefined> {
  if (config.registration !== 'open' || query.name !== 'query') return refuse('service-unavailable');
  if (type === 'get') return registrationForm();
  if (query.child('remove') !== undefined) return refuse('unexpected-request');
  return registerAccount(config, accounts, query, address);
}

async function registerAccount(
  config: Config,
  accounts: Accounts,
  query: Element,
  address: string,
): Promise<StanzaError | undefined> {
  const username = query.child('username')?.text() ?? '';
  const password = query.child('password')?.text() ?? '';
  if (username === '' || password === '') return refuse('not-acceptable', { text: 'give a username and a password' });
  if (localpart(username) === undefined) return refuse('not-acceptable', { text: 'this cannot be a username' });
  let quota = quotas.get(accounts);
  if (quota === undefined) quotas.set(accounts, (quota = new Quota(config.limits.registrations_per_hour, HOUR)));
  if (config.limits.enabled && !quota.take(source(address))) {
    count(counters.drops, 'registrations_per_hour');
    return refuse('not-acceptable', { type: 'wait', text: 'too many registrations from this address' });
  }
  return whenPossible(async () => {
    const done = await accounts.create(username, password);
    if (done === 'exists') return refuse('conflict', { text: 'this username is taken' });
    return done === 'invalid' ? refuse('not-acceptable', { text: 'this cannot be a password' }) : undefined;
  });
}

/** In-band registration for those who are logged in: what is on file, a new password, the end of the account. */
export function register({ accounts }: { accounts: Accounts }): Feature {
  const get: Route = `iq:get:${NS_REGISTER}:query`;
  const set: Route = `iq:set:${NS_REGISTER}:query`;
  const routes = { [get]: onFile, [set]: (request: IqRequest) => change(accounts, request) };
  return defineFeature({
    spec: 'XEP-0077',
    title: 'In-Band Registration',
    version: '2.4',
    disco: { server: [NS_REGISTER] },
    routes: { server: routes, account: routes },
  });
}

/** XEP-0077 §3.1: the password is not told. */
function onFile({ from }: IqRequest): Element {
  return el(
    'query',
    NS_REGISTER,
    {},
    el('registered', NS_REGISTER),
    el('username', NS_REGISTER, {}, from.local),
    el('password', NS_REGISTER),
  );
}

function change(accounts: Accounts, { payload, from, session }: IqRequest): Promise<IqAnswer> | IqAnswer {
  if (payload.child('remove') !== undefined) {
    // XEP-0077 §3.2: it must be alone.
    return payload.elements().length === 1 ? remove(accounts, session) : refuse('bad-request');
  }
  const username = payload.child('username')?.text() ?? '';
  const password = payload.child('password')?.text() ?? '';
  if (username === '' || password === '') return refuse('bad-request', { text: 'give your username and a password' });
  // A second identity (XEP-0077 §3.1.1), or another's password.
  if (localpart(username) !== from.local) return refuse('not-allowed', { text: 'this is not your username' });
  return whenPossible(async () => {
    const done = await accounts.setPassword(from.local, password);
    if (done === 'missing') return refuse('registration-required');
    return done === 'invalid' ? refuse('not-acceptable', { text: 'this cannot be a password' }) : undefined;
  });
}

function remove(accounts: Accounts, session: Session): Promise<IqAnswer> {
  return whenPossible(async () => {
    if (!(await accounts.remove(session.jid.local))) return refuse('registration-required');
    // The result goes out before the streams end.
    setImmediate(endSessions, session.context, session.jid.bare, 'the account was removed');
    return undefined;
  });
}

/** The store or the password derivation may have to refuse for now. */
async function whenPossible(work: () => Promise<StanzaError | undefined>): Promise<StanzaError | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DerivationBusy || error instanceof StoreError) return refuse('resource-constraint');
    throw error;
  }
}
