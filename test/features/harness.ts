import { defaults, type Config } from '../../src/config/config.js';
import type { IqAnswer, IqRequest, Route, Target } from '../../src/features/feature.js';
import { features } from '../../src/features/list.js';
import type { FeatureSet } from '../../src/features/registry.js';
import { parseJid } from '../../src/jid/jid.js';
import { StanzaError } from '../../src/stream/stanza-error.js';
import type { Session } from '../../src/session/session.js';
import { el, type Element } from '../../src/xml/element.js';
import { house } from '../sasl/harness.js';

/** A session as far as features look at it, in a pool where the account has one resource here and one elsewhere. */
export class Client {
  readonly log: string[] = [];
  readonly session: Session;
  readonly ended: Promise<void>;

  constructor(full = 'juliet@localhost/balcony', isAdmin = false) {
    let over: () => void = () => {};
    this.ended = new Promise((resolve) => (over = resolve));
    const jid = parseJid(full)!;
    const session = {
      jid,
      available: true,
      isAdmin,
      kick: (text: string, condition: string) => {
        this.log.push(`${condition}: ${text}`);
        over();
      },
      context: {
        registry: { bare: (bare: string) => (bare === jid.bare ? [this.session, ABSENT] : []) },
        directory: {
          remote: (bare: string) => [
            { bare, resource: 'garden', worker: 2, id: '2.x', available: true, priority: 0 },
            { bare, resource: 'silent', worker: 2, id: '2.y', available: false, priority: 0 },
          ],
        },
        bus: {
          send: (worker: number, _channel: number, body: Buffer) => this.log.push(`kick ${worker} ${body.toString()}`),
        },
      },
    };
    this.session = session as unknown as Session;
  }

  request(type: 'get' | 'set', payload: Element, to?: string): IqRequest {
    const { session } = this;
    return {
      type,
      id: '1',
      from: session.jid,
      to: to === undefined ? undefined : parseJid(to),
      payload,
      lang: undefined,
      session,
    };
  }
}

const ABSENT = {
  jid: parseJid('juliet@localhost/absent'),
  available: false,
  kick: () => undefined,
};

/** The whole set over accounts in a Map, where juliet's password is r0m30. */
export async function household(change: (config: Config) => void = () => {}) {
  const config = defaults();
  change(config);
  const { accounts, store } = await house();
  const set = features({ config, version: '1.2.3', accounts, started: Date.now() - 123_456_789 });
  const client = new Client();
  const ask = (target: Target, type: 'get' | 'set', payload: Element, from = client) =>
    answer(set, target, from.request(type, payload));
  return { config, accounts, store, set, client, ask };
}

/** The answer as XML, an error as its condition and type. */
export async function answer(set: FeatureSet, target: Target, request: IqRequest): Promise<string | undefined> {
  const route: Route = `iq:${request.type}:${request.payload.ns}:${request.payload.name}`;
  const handler = set.handler(target, route);
  if (handler === undefined) return 'no handler';
  return shown(await handler(request));
}

export function shown(answered: IqAnswer): string {
  if (answered instanceof StanzaError) return `${answered.condition} ${answered.type}`;
  return answered === undefined ? 'empty result' : answered.toString();
}

export const query = (ns: string, attrs: Record<string, string> = {}, ...children: Element[]) =>
  el('query', ns, attrs, ...children);
