import type { Logger } from 'pino';
import type { Bus } from '../cluster/bus.js';
import type { Directory } from '../cluster/directory.js';
import type { Config } from '../config/config.js';
import type { IqAnswer, IqHandler, IqRequest, Route, Target } from '../features/feature.js';
import type { Jid, JidCache } from '../jid/jid.js';
import type { Element } from '../xml/element.js';
import type { Scanner } from '../xml/scanner.js';
import type { TreeBuilder } from '../xml/tree.js';
import type { Registry } from './registry.js';
import type { Router } from './router.js';
import type { Session } from './session.js';
import type { Spool } from './spool.js';
import type { Succession } from './succession.js';

/** The facts of a publish that may take the fast road: `payload` is a view that is valid only during the call. */
export interface HotPublish {
  /** The iq's id. */
  id: string;
  node: string;
  itemId: string | undefined;
  /** One payload element that uses no namespace binding from outside itself. */
  payload: Buffer;
}

/** An entity beside the server with a domain of its own, such as the pub-sub service. */
export interface Service {
  /** Its registry of iq handlers. */
  readonly target: Target;
  /** False when this publish needs the comfortable road. */
  publish(session: Session, publish: HotPublish): boolean;
  /** Every iq request that no feature answers. */
  handleIq(request: IqRequest): IqAnswer | Promise<IqAnswer>;
  handleMessage(from: Jid, message: Element): Promise<void>;
}

/** Told when a session's presence or life changes. */
export interface SessionWatcher {
  sessionBound?(session: Session): unknown;
  /** It is available; called again when its presence changes. */
  sessionAvailable?(session: Session): Promise<void> | void;
  sessionUnavailable?(session: Session): void;
  sessionClosed?(session: Session): void;
  /** It is about to go to another worker. Resolves when nothing of what came of its stanzas is under way. */
  sessionLeaving?(session: Session): Promise<void> | undefined;
  /** It has come from another worker, and did not come online. Resolves when what is for it comes here; rejects when that cannot be. */
  sessionArriving?(session: Session): Promise<void> | undefined;
}

/** What the sessions of one worker share; the composition root fills it in. */
export interface SessionContext {
  readonly config: Config;
  readonly log: Logger;
  readonly scanner: Scanner;
  readonly tree: TreeBuilder;
  readonly jids: JidCache;
  readonly bus: Bus;
  readonly directory: Directory;
  readonly registry: Registry;
  readonly router: Router;
  readonly succession: Succession;
  /** Where there are several hosts. */
  readonly spool?: Spool;
  /** By domain. */
  readonly services: Map<string, Service>;
  readonly watchers: SessionWatcher[];
  handler(target: Target, route: Route): IqHandler | undefined;
  /** Bare JIDs. */
  isAdmin(bare: string): boolean;
}
