import type { IqAnswer, IqRequest } from '../features/feature.js';
import { type Jid, parseJid } from '../jid/jid.js';
import { refuse, type StanzaError } from '../stream/stanza-error.js';
import type { Element } from '../xml/element.js';
import { type Actor, Engine, type EngineDependencies } from './engine.js';
import { forgetAccount } from './forgetting.js';
import type { Endpoint, Reader } from './interest.js';
import { lastToSession } from './latecomers.js';
import { deleteNode } from './managing.js';
import { type HotPublish, publishHot } from './submitting.js';
import { Refusal } from './refusals.js';
import { answered } from './xml/authorization.js';
import { itemList, nodeInfo, nodeList, serviceInfo } from './xml/disco.js';
import { stanzaError } from './xml/errors.js';
import { execute } from './xml/execute.js';
import { NS_DISCO_INFO, NS_DISCO_ITEMS } from './xml/namespaces.js';
import { isPubsub, parse } from './xml/parse.js';

export interface PubSubDependencies extends EngineDependencies {
  /** Whether a bare JID is a service-wide administrator; by the configuration unless given. */
  isAdmin?(bare: string): boolean;
}

/**
 * The publish-subscribe service of one worker (XEP-0060). Stanzas become actions, the engine does them, and what it gives becomes
 * stanzas again; only plain publishes take a road of their own.
 */
export class PubSub {
  readonly target = 'pubsub';
  private readonly engine: Engine;
  private readonly isAdmin: (bare: string) => boolean;

  constructor(dependencies: PubSubDependencies) {
    const { admins, domain } = dependencies.config;
    const listed = new Set(admins.length > 0 ? admins : [`admin@${domain}`]);
    this.isAdmin = dependencies.isAdmin ?? ((bare) => listed.has(bare));
    this.engine = new Engine(dependencies);
  }

  /** Nothing to prepare: nodes are read when they are first used. */
  async start(): Promise<void> {
    return Promise.resolve();
  }

  /** Resolves when everything accepted is kept, and its notifications and results are on their way. */
  settled(): Promise<void> {
    return this.engine.settled();
  }

  /** The same, and nothing is begun any more. */
  stop(): Promise<void> {
    this.engine.catchingUp.stop();
    this.engine.hearsay.stop();
    return this.settled();
  }

  /** The store can be asked again: whatever was missed meanwhile is looked at. */
  recheck(): void {
    this.engine.doubt();
  }

  // --- requests ----------------------------------------------------------------------------------------------------------

  /** Hot path: false when the publish needs {@link handleIq}, and nothing was done yet. */
  publish(session: Endpoint, hot: HotPublish): boolean {
    return publishHot(this.engine, session, hot);
  }

  handleIq(request: IqRequest): IqAnswer | Promise<IqAnswer> {
    const { type, payload, from } = request;
    if (!isPubsub(payload)) {
      const node = payload.attr('node');
      if (type === 'get' && payload.name === 'query') {
        if (payload.ns === NS_DISCO_INFO) return this.discoInfo(node);
        if (payload.ns === NS_DISCO_ITEMS) return this.discoItems(node, from, payload);
      }
      return refuse('service-unavailable');
    }
    const action = parse(type, payload);
    return action instanceof Refusal ? stanzaError(action) : this.execute(request, action);
  }

  private async execute(request: IqRequest, action: Parameters<typeof execute>[2]): Promise<IqAnswer> {
    try {
      return answer(await execute(this.engine, this.actor(request.from, request.session), action));
    } catch (error) {
      return stanzaError(this.engine.failed(error));
    }
  }

  /** Owners answer subscription requests by message (XEP-0060 §8.6). Resolves when it is done: what they send next comes after it. */
  async handleMessage(from: Jid, message: Element): Promise<void> {
    const type = message.attr('type');
    if (type === 'error' || type === 'headline' || type === 'groupchat') return;
    const { engine } = this;
    const refusal = await answered(engine, this.actor(from, undefined), message).catch((error) => engine.failed(error));
    if (refusal !== undefined) engine.notices.refused(from, message, stanzaError(refusal));
  }

  private actor(jid: Jid, session: Endpoint | undefined): Actor {
    return { jid, admin: this.isAdmin(jid.bare), session };
  }

  // --- service discovery ----------------------------------------------------------------------------------------------------

  /** disco#info of the service, or of a node (XEP-0060 §5.1, §5.3, §5.4). `more` are features of the service from elsewhere. */
  async discoInfo(node: string | undefined, more: readonly string[] = []): Promise<Element | StanzaError> {
    return node === undefined ? serviceInfo(more) : this.discovered(nodeInfo(this.engine, node));
  }

  /** disco#items of the service, or of a node (XEP-0060 §5.2, §5.5). `query` may hold a `<set/>` (XEP-0059). */
  async discoItems(node: string | undefined, requester: Jid, query: Element): Promise<Element | StanzaError> {
    const actor = this.actor(requester, undefined);
    return this.discovered(
      node === undefined ? nodeList(this.engine, query) : itemList(this.engine, actor, node, query),
    );
  }

  private discovered(found: Promise<Element | Refusal>): Promise<Element | StanzaError> {
    return found
      .catch((error: unknown) => this.engine.failed(error))
      .then((given) => (given instanceof Refusal ? stanzaError(given) : given));
  }

  // --- administration -----------------------------------------------------------------------------------------------------------

  /** Deletes a node as an administrator does, its subscribers being told; false when there is none. */
  async removeNode(name: string): Promise<boolean> {
    const jid = parseJid(this.engine.host);
    if (jid === undefined) return false;
    return (await deleteNode(this.engine, { jid, admin: true, session: undefined }, name, undefined)) === undefined;
  }

  /** See forgetting.ts. */
  forgetAccount(bare: string): Promise<void> {
    const { engine } = this;
    return forgetAccount(engine.store, bare, {
      subscription: (node, jid) => engine.subscriptions.changed(node, jid, bare),
      affiliation: (node) => engine.changed(node),
    });
  }

  // --- sessions ---------------------------------------------------------------------------------------------------------------

  /**
   * The session is there, or its availability or priority changed: it gets the notifications that it is subscribed to, and the last items of
   * nodes that want it when it comes online. Cheap when nothing changed. Resolves when that is so for every worker's publishes.
   */
  sessionAvailable(session: Endpoint): Promise<void> | undefined {
    const reader = this.engine.readerOf(session);
    const reachable = session.available && session.priority >= 0;
    if (reader.known && reachable === reader.reachable && reader.online === session.available) return undefined;
    return this.load(session);
  }

  /** The session was bound: what is for its full JID comes to it even before it sends presence (RFC 6121 §8.5.3.1). */
  sessionBound(session: Endpoint): Promise<void> | undefined {
    return this.load(session);
  }

  private load(session: Endpoint): Promise<void> | undefined {
    const reader = this.engine.readerOf(session);
    if (!this.engine.subscriptions.knownNone(reader)) return this.read(session, reader);
    reader.online = session.available;
    return undefined;
  }

  private async read(session: Endpoint, reader: Reader): Promise<void> {
    try {
      const names = await this.engine.subscriptions.load(reader);
      if (!session.available || reader.online) return;
      reader.online = true;
      if (names.length === 0) return;
      const catchingUp = lastToSession(this.engine, reader, names);
      reader.catchingUp = catchingUp;
      this.engine.task(() => catchingUp);
    } catch (error) {
      this.engine.failed(error, 'subscriptions could not be read');
    }
  }

  /** It has come from another worker: it did not come online (XEP-0060 §4.3), and gets no last items. */
  async sessionArriving(session: Endpoint): Promise<void> {
    const reader = this.engine.readerOf(session);
    reader.online = session.available;
    if (!this.engine.subscriptions.knownNone(reader)) await this.engine.subscriptions.load(reader);
  }

  /** Resolves when what the session published is answered, or will be by the next barrier, and last items are on their way. */
  async sessionLeaving(session: Endpoint): Promise<void> {
    if (session.pubsub === undefined) return;
    const reader = this.engine.readerOf(session);
    await this.engine.published(reader);
    // Whoever sends them says why they failed.
    await reader.catchingUp?.catch(() => undefined);
  }

  sessionUnavailable(session: Endpoint): void {
    const reader = this.engine.readerOf(session);
    reader.online = false;
    this.engine.subscriptions.unreachable(reader);
  }

  sessionClosed(session: Endpoint): void {
    if (session.pubsub === undefined) return;
    this.engine.subscriptions.closed(this.engine.readerOf(session));
  }
}

function answer(given: Element | undefined | Refusal): IqAnswer {
  return given instanceof Refusal ? stanzaError(given) : given;
}
