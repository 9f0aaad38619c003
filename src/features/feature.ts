import type { Element } from '../xml/element.js';
import type { Jid } from '../jid/jid.js';
import type { Session } from '../session/session.js';
import type { StanzaError } from '../stream/stanza-error.js';
import type { Config } from '../config/config.js';

/** What a feature answers for: the server itself, the sender's own account, another's, or a service beside the server. */
export type Target = 'server' | 'account' | 'contact' | 'pubsub';

/** One iq request on the comfortable road. */
export interface IqRequest {
  type: 'get' | 'set';
  id: string;
  from: Jid;
  /** The address as sent; absent means the sender's own account (RFC 6120 §8.1.1.1). */
  to: Jid | undefined;
  payload: Element;
  lang: string | undefined;
  session: Session;
}

/** An element is the result's payload, undefined an empty result. */
export type IqAnswer = Element | StanzaError | undefined;
export type IqHandler = (request: IqRequest) => IqAnswer | Promise<IqAnswer>;

/** `iq:<get|set>:<namespace>:<name of the payload>`, e.g. `iq:get:urn:xmpp:ping:ping`. */
export type Route = `iq:${'get' | 'set'}:${string}:${string}`;

/**
 * One extension, declared once. Dispatch, disco#info, the DOAP file, the README's table and the labels of the
 * metrics derive from these declarations.
 */
export interface Feature {
  /** `XEP-0199` or `RFC 6120`. */
  spec: string;
  title: string;
  /** Version of the specification that the code was written from. */
  version: string;
  /** What is left out on purpose, for the table. */
  note?: string;
  /** Service discovery features (XEP-0030 §3), per target. */
  disco?: Partial<Record<Target, readonly string[]>>;
  /** Handlers per target. */
  routes?: Partial<Record<Target, Record<Route, IqHandler>>>;
  /** Children for `<stream:features/>` after authentication (RFC 6120 §4.3.2). */
  streamFeatures?: (config: Config) => readonly Element[];
  /** Extended information on the server (XEP-0128). */
  forms?: (config: Config) => readonly Element[];
}

/** A name for the declaration, so that a search for it finds every extension. */
export function defineFeature(feature: Feature): Feature {
  return feature;
}
