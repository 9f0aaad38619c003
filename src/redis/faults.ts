import { RedisRefused } from './redis.js';

/**
 * What an error says about trying again.
 *
 * - `lost`: the connection broke, or could not be used; whether the command was done is not known.
 * - `wait`: Redis will not do it at the moment, and did nothing of it.
 * - `moved`, `ask`, `script`: it is done elsewhere, or with the script's source.
 * - `refused`: it will never be done.
 */
export type Fault =
  | { kind: 'lost'; reason: string; sent: boolean }
  | { kind: 'wait'; reason: string; stale: boolean }
  | { kind: 'moved' | 'ask'; slot: number; address: string }
  | { kind: 'script' }
  | { kind: 'refused' };

/** First words of replies after which the same command may go through later; true where another server may be the one to ask. */
const WAITS: Readonly<Record<string, boolean>> = {
  READONLY: true,
  MASTERDOWN: true,
  CLUSTERDOWN: true,
  LOADING: false,
  TRYAGAIN: false,
  OOM: false,
  BUSY: false,
  MISCONF: false,
  NOREPLICAS: false,
  UNREPLICATED: false,
};

/** What an operator can change where it does not go through in time. */
const REMEDIES: readonly [RegExp, string][] = [
  [/\bOOM\b/i, 'raise maxmemory there, or remove what is not needed'],
  [/\bNOREPLICAS\b/i, 'bring its replicas back, or lower min-replicas-to-write there'],
  [/\bUNREPLICATED\b/i, 'bring its replicas back, or lower redis.replicas'],
  [
    /\bCLUSTERDOWN\b|slots that nobody serves/i,
    'bring the masters back that are missing, or have others serve their slots',
  ],
];

/** By the reason that was told; undefined where it may simply be waited for. */
export function remedyOf(reason: string): string | undefined {
  return REMEDIES.find(([pattern]) => pattern.test(reason))?.[1];
}

/** A script's own errors come wrapped before Redis 7. */
const WRAPPED = /^ERR Error running script.*@user_script:\s*\d+:\s*-?([A-Z]+) /;

/** Redis did it, but too few replicas have it. */
export class Unreplicated extends Error {
  override readonly name = 'ReplyError';

  constructor(have: number, wanted: number) {
    super(`UNREPLICATED ${have} of ${wanted} replicas have it`);
  }
}

export function faultOf(error: Error): Fault {
  const { message } = error;
  if (error.name !== 'ReplyError')
    return { kind: 'lost', reason: 'connection', sent: !message.startsWith("Stream isn't writeable") };
  const word = WRAPPED.exec(message)?.[1] ?? message.slice(0, Math.max(0, message.indexOf(' ')));
  if (word === 'MOVED' || word === 'ASK') {
    const [, slot, address] = message.split(' ');
    return { kind: word === 'MOVED' ? 'moved' : 'ask', slot: Number(slot), address: address ?? '' };
  }
  if (word === 'NOSCRIPT') return { kind: 'script' };
  const stale = WAITS[word];
  if (stale !== undefined) return { kind: 'wait', reason: word.toLowerCase(), stale };
  return { kind: 'refused' };
}

/** What its user of Redis may not do; before Redis 7.2 a script's own commands are refused without that first word. */
const FORBIDDEN = /^NOPERM|The user executing the script can't/;

/** What its user of Redis may not do, with what to change; undefined for any other error. */
export function forbidden(at: string, error: Error): RedisRefused | undefined {
  if (!FORBIDDEN.test(error.message)) return undefined;
  const text = `Redis at ${at} allows this user too little (${error.message}): give it +@all on the keys of redis.prefix`;
  return new RedisRefused(text, { cause: error });
}

/** That a key is not Thrum's, with what to change; undefined for any other error. */
export function foreign(at: string, keys: readonly unknown[], error: Error): RedisRefused | undefined {
  if (!/\bWRONGTYPE\b/.test(error.message)) return undefined;
  const text =
    `Redis at ${at} has something else under a key of Thrum's (WRONGTYPE at ${keys.join(' or ')}): ` +
    'set another redis.prefix, or remove that key';
  return new RedisRefused(text, { cause: error });
}
