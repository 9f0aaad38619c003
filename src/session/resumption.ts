import { CHANNEL, PeerGone } from '../cluster/bus.js';
import { counters } from '../metrics/counters.js';
import type { Connection } from '../stream/connection.js';
import type { ResumeFailure, StreamHost } from '../stream/host.js';
import type { Transport, TransportKind } from '../stream/transport.js';
import type { Relays } from '../stream/relay.js';
import type { SessionContext } from './context.js';
import { NS_SM, tooHigh } from './management.js';
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
}

/** What it says. */
interface Answer {
  refused?: ResumeFailure;
}

/** How long another worker may take to answer for a session, in milliseconds. */
const CLAIM_PATIENCE = 5000;

/**
 * Resumption (XEP-0198 §5) on any worker of the pool. The session stays where it is: when its client comes back to another worker,
 * that worker passes the socket's bytes on, both ways, so that nothing of the session is ever in two places.
 * A session's identifier begins with the number of its worker.
 */
export class Resumption {
  constructor(
    private readonly context: SessionContext,
    private readonly streams: StreamHost,
    private readonly relays: Relays,
    private readonly connect: (transport: Transport) => Connection,
  ) {
    context.bus.listen(CHANNEL.resume, (from, body) => this.claimed(from, JSON.parse(body.toString()) as Claim));
  }

  async resume(connection: Connection, user: string, previd: string, h: number): Promise<ResumeFailure | undefined> {
    const worker = Number.parseInt(previd, 36);
    const { bus } = this.context;
    if (worker === bus.self || !bus.peers.has(worker)) return this.local(connection, user, previd, h);
    const outlet = this.relays.outlet(worker, connection);
    const { kind, secure, framed, remoteAddress } = connection.transport;
    const claim: Claim = {
      user,
      previd,
      h,
      relay: outlet.id,
      kind,
      secure,
      framed,
      remoteAddress,
      lang: connection.lang,
    };
    let refused: ResumeFailure | undefined;
    try {
      const answer = await bus.request(worker, CHANNEL.resume, Buffer.from(JSON.stringify(claim)), CLAIM_PATIENCE);
      ({ refused } = JSON.parse(answer.toString()) as Answer);
    } catch (error) {
      if (!(error instanceof PeerGone)) throw error;
      refused = { condition: 'item-not-found' };
    }
    if (refused === undefined) outlet.open();
    else outlet.cancel();
    return refused;
  }

  /** The session is of this worker. */
  private async local(
    connection: Connection,
    user: string,
    previd: string,
    h: number,
  ): Promise<ResumeFailure | undefined> {
    const session = await this.find(user, previd);
    if (session === undefined) return { condition: 'item-not-found' };
    if (connection.isOver) return undefined;
    if (!session.outbox.acknowledge(h)) return { stream: tooHigh(session, h) };
    this.carryOn(session, connection);
    return undefined;
  }

  /** The user's session, once what came by its last connection has been handled. */
  private async find(user: string, previd: string): Promise<Session | undefined> {
    const session = this.context.registry.byResumption(previd);
    if (session === undefined || session.jid.local !== user) return undefined;
    await session.idle();
    return session.ended ? undefined : session;
  }

  private carryOn(session: Session, connection: Connection): void {
    counters.resumed++;
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
    const session = await this.find(claim.user, claim.previd);
    if (session === undefined || this.streams.draining || inlet.over) {
      inlet.cancel();
      return answer({ condition: 'item-not-found' });
    }
    if (!session.outbox.acknowledge(claim.h)) {
      inlet.cancel();
      return answer({ stream: tooHigh(session, claim.h) });
    }
    const connection = this.connect(inlet);
    inlet.receiver = connection;
    connection.adopted(claim.lang);
    this.carryOn(session, connection);
    return answer();
  }
}

function answer(refused?: ResumeFailure): Buffer {
  return Buffer.from(JSON.stringify({ refused }));
}
