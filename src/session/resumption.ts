import { CHANNEL, PeerGone } from '../cluster/bus.js';
import { counters } from '../metrics/counters.js';
import type { Connection } from '../stream/connection.js';
import { USUAL_SCOPE } from '../stream/header.js';
import type { ResumeFailure, StreamHost } from '../stream/host.js';
import type { Transport, TransportKind } from '../stream/transport.js';
import type { RelayInlet, Relays } from '../stream/relay.js';
import type { SessionContext } from './context.js';
import { NS_SM, tooHigh } from './management.js';
import type { Moving } from './moving/moving.js';
import type { Session } from './session.js';

/** What the worker that has the socket tells the one that has the session. */
interface Claim {
  user: string;
  previd: string;
  h: number;
  relay: number;
  kind: TransportKind;
  secure: boolean;
  framed: boolean;
  remoteAddress: string;
  lang: string;
  /** The namespaces that the stream's header declared, unless they are the usual ones. */
  scope?: Record<string, string>;
}

/** What that one says: nothing when it carries on by the relay. */
interface Answer {
  refused?: ResumeFailure;
  /** The worker where the session is now; perhaps the asker itself. */
  moved?: number;
}

/** How long another worker may take to answer for a session, in milliseconds, and how long a session on its way is waited for. */
const CLAIM_PATIENCE = 15_000;
const MOVE_PATIENCE = 10_000;
/** Workers that are asked for one session, at most. */
const HOPS = 6;
const NOT_FOUND: ResumeFailure = { condition: 'item-not-found' };

/**
 * Resumption (XEP-0198 §5) on any worker. Within a host the session stays where it is: when its client comes back to another worker,
 * that worker passes the socket's bytes on, both ways. To another host, and away from a worker that closes, the session moves
 * (see moving/moving.ts). A session's identifier begins with the number of the worker that made it.
 */
export class Resumption {
  constructor(
    private readonly context: SessionContext,
    private readonly streams: StreamHost,
    private readonly relays: Relays,
    private readonly moving: Moving,
    private readonly sameHost: (worker: number) => boolean,
    private readonly connect: (transport: Transport) => Connection,
  ) {
    context.bus.listen(CHANNEL.resume, (from, body) => this.claimed(from, JSON.parse(body.toString()) as Claim));
  }

  async resume(connection: Connection, user: string, previd: string, h: number): Promise<ResumeFailure | undefined> {
    const { bus, registry } = this.context;
    connection.sayAll();
    const asked = new Set<number>();
    let worker: number | undefined = this.moving.departed.worker(previd) ?? Number.parseInt(previd, 36);
    for (let hop = 0; hop < HOPS; hop++) {
      if (this.streams.draining) return { stream: { condition: 'system-shutdown' } };
      if (registry.byResumption(previd) !== undefined) {
        const answer = await this.local(connection, user, previd, h);
        if (answer.moved === undefined) return answer.refused;
        worker = answer.moved;
        continue;
      }
      if (!bus.peers.has(worker) || asked.has(worker)) worker = await this.search(user, previd);
      if (worker === undefined) break;
      asked.add(worker);
      const answer = await this.claim(worker, connection, user, previd, h);
      if (answer.moved !== undefined) worker = answer.moved;
      else if (answer.refused === undefined || answer.refused !== NOT_FOUND) return answer.refused;
    }
    return NOT_FOUND;
  }

  /** The worker that has the session by the directory. */
  private async search(user: string, previd: string): Promise<number | undefined> {
    const entries = await this.context.directory.remote(`${user}@${this.context.config.domain}`);
    return entries.find(({ id }) => id === previd)?.worker;
  }

  /** Asks another worker for the session. */
  private async claim(
    worker: number,
    connection: Connection,
    user: string,
    previd: string,
    h: number,
  ): Promise<Answer> {
    const outlet = this.relays.outlet(worker, connection);
    const { kind, secure, framed, remoteAddress } = connection.transport;
    const { lang, scope } = connection;
    const claim: Claim = { user, previd, h, relay: outlet.id, kind, secure, framed, remoteAddress, lang };
    if (scope !== USUAL_SCOPE) claim.scope = scope;
    let answer: Answer;
    try {
      const { bus } = this.context;
      const bytes = await bus.request(worker, CHANNEL.resume, Buffer.from(JSON.stringify(claim)), CLAIM_PATIENCE);
      answer = JSON.parse(bytes.toString()) as Answer;
    } catch (error) {
      if (!(error instanceof PeerGone)) throw error;
      answer = { refused: NOT_FOUND };
    }
    if (isCarriedOn(answer)) outlet.open();
    else outlet.cancel();
    const { refused } = answer;
    return refused !== undefined && 'condition' in refused && refused.h === undefined ? { refused: NOT_FOUND } : answer;
  }

  /** The session is of this worker. */
  private local(connection: Connection, user: string, previd: string, h: number): Promise<Answer> {
    return this.still(user, previd, (session) => {
      if (connection.isOver) return {};
      if (!session.outbox.covers(h)) return { refused: { stream: tooHigh(session, h) } };
      this.carryOn(session, connection, h);
      return {};
    });
  }

  /**
   * Calls `act` in the same turn in which the user's session stands still: it is not on its way to or from another worker, and what came
   * by its last connection has been handled.
   */
  private async still(user: string, previd: string, act: (session: Session) => Answer): Promise<Answer> {
    const late = Date.now() + MOVE_PATIENCE;
    for (;;) {
      const session = this.context.registry.byResumption(previd);
      if (session?.jid.local !== user) return session === undefined ? this.gone(previd) : { refused: NOT_FOUND };
      if (session.moving !== undefined) {
        const left = late - Date.now();
        if (left <= 0) return { refused: { condition: 'item-not-found', h: session.sm!.handled } };
        await within(left, session.moving);
        continue;
      }
      await session.idle();
      if (session.moving === undefined && !session.ended) return act(session);
    }
  }

  private gone(previd: string): Answer {
    const moved = this.moving.departed.worker(previd);
    return moved === undefined ? { refused: NOT_FOUND } : { moved };
  }

  private carryOn(session: Session, connection: Connection, h: number): void {
    counters.resumed++;
    session.outbox.acknowledge(h);
    this.context.spool?.acknowledged(session);
    session.attach(connection);
    connection.transport.writeNow(
      Buffer.from(`<resumed xmlns='${NS_SM}' previd='${session.resumption}' h='${session.sm!.handled}'/>`),
    );
    session.outbox.sink = connection.transport;
    session.outbox.rewind();
  }

  /** Another worker has the socket of a client that wants its session back. */
  private async claimed(from: number, claim: Claim): Promise<Buffer> {
    // It is there before anything is waited for, to be told when the socket goes meanwhile.
    const inlet = this.relays.inlet(from, claim.relay, claim);
    const answer = await this.grant(from, claim, inlet);
    if (!isCarriedOn(answer)) inlet.cancel();
    return Buffer.from(JSON.stringify(answer));
  }

  private async grant(from: number, claim: Claim, inlet: RelayInlet): Promise<Answer> {
    let going: Session | undefined;
    const answer = await this.still(claim.user, claim.previd, (session) => {
      if (inlet.over) return { refused: NOT_FOUND };
      if (!session.outbox.covers(claim.h)) return { refused: { stream: tooHigh(session, claim.h) } };
      if (this.streams.draining || !this.sameHost(from)) {
        session.letGo();
        going = session;
        return { moved: from };
      }
      this.relay(session, claim, inlet);
      return {};
    });
    if (going === undefined || (await this.moving.move(going, from))) return answer;
    // It could not go there.
    if (this.streams.draining) return { refused: { condition: 'item-not-found', h: going.sm!.handled } };
    return this.still(claim.user, claim.previd, (session) => {
      if (inlet.over || !session.outbox.covers(claim.h)) return { refused: NOT_FOUND };
      this.relay(session, claim, inlet);
      return {};
    });
  }

  private relay(session: Session, claim: Claim, inlet: RelayInlet): void {
    const connection = this.connect(inlet);
    inlet.receiver = connection;
    connection.adopted(claim.lang, claim.scope);
    this.carryOn(session, connection, claim.h);
  }
}

function isCarriedOn({ refused, moved }: Answer): boolean {
  return refused === undefined && moved === undefined;
}

/** Resolves with the promise, or when the time is up. */
function within(milliseconds: number, promise: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds).unref();
    void promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
