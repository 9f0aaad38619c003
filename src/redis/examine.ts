import { Redis as Client } from 'ioredis';
import { Question, sendAlone } from './command.js';
import { forbidden } from './faults.js';
import { otherwiseSpoken } from './greeting.js';
import { RedisRefused, RedisUnavailable } from './redis.js';
import { type Address, type Settings, STUCK_MS, clientOptions, written } from './settings.js';

/** The oldest Redis with all that is used here; every Valkey has it. */
const OLDEST = [6, 2] as const;

/** What TLS says when the server misses a certificate, or does not trust it. */
const UNKNOWN_TO_IT = /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|ALERT_UNKNOWN_CA|ALERT_(BAD|UNSUPPORTED)_CERTIFICATE/i;
/** What TLS says of a certificate that is not trusted here. */
const UNTRUSTED = /CERT|SIGNATURE|ISSUER/;

/**
 * Looks at one server before anything is built on it.
 *
 * @returns the address of the master that is there
 * @throws RedisRefused with a sentence for the operator
 * @throws RedisUnavailable when it may be there later
 */
export async function examine(settings: Settings, address: Address): Promise<void> {
  const { username: _, password: __, db: ___, ...options } = clientOptions({ ...settings, kind: 'single' }, address);
  const client = new Client({ ...options, enableReadyCheck: false, retryStrategy: () => null });
  let failure: Error | undefined;
  client.on('error', (error: Error) => (failure ??= error));
  const ask = async (name: string, args: (string | number)[]): Promise<string> => {
    const question = new Question(name, args);
    sendAlone(client, question);
    return String(await question.answer);
  };
  const late = setTimeout(() => {
    failure ??= new Error('it does not answer');
    client.disconnect();
  }, 2 * STUCK_MS);
  try {
    await client.connect();
    await authenticate(settings, ask);
    judge(settings, written(address), await ask('INFO', []));
    if (settings.kind !== 'cluster' && settings.database > 0) await select(settings, ask);
  } catch (error) {
    if (error instanceof RedisRefused || error instanceof RedisUnavailable) throw error;
    throw await explained(settings, address, failure ?? (error as Error));
  } finally {
    clearTimeout(late);
    client.disconnect();
  }
}

type Ask = (name: string, args: (string | number)[]) => Promise<string>;

async function authenticate({ username, password }: Settings, ask: Ask): Promise<void> {
  if (password === '') {
    if (username !== '') throw new RedisRefused('redis.username has no password: set redis.password too');
    return;
  }
  try {
    await ask('AUTH', username === '' ? [password] : [username, password]);
  } catch (error) {
    const { message } = error as Error;
    if (/without any password|no password is set/.test(message))
      throw new RedisRefused('Redis asks for no password: leave redis.password empty, or set requirepass in Redis');
    if (!/^(WRONGPASS|ERR invalid password)/.test(message)) throw error;
    const what = username === '' ? 'the password' : `user "${username}" or the password`;
    throw new RedisRefused(`Redis does not know ${what}: correct redis.password (or THRUM_REDIS_PASSWORD)`);
  }
}

async function select({ database }: Settings, ask: Ask): Promise<void> {
  try {
    await ask('SELECT', [database]);
  } catch (error) {
    throw new RedisRefused(
      `Redis has no database ${database} (${(error as Error).message}): write another number at the end of redis.url`,
    );
  }
}

/** Whether the server will do, by what it says of itself. */
function judge({ kind }: Settings, at: string, info: string): void {
  const of = (field: string): string | undefined => new RegExp(`^${field}:(.*?)\r?$`, 'm').exec(info)?.[1];
  if (of('loading') === '1') throw new RedisUnavailable(`Redis at ${at} is loading its data.`);
  const version = (of('redis_version') ?? '0').split('.').map(Number);
  if (version[0]! < OLDEST[0] || (version[0] === OLDEST[0] && version[1]! < OLDEST[1]))
    throw new RedisRefused(`Redis at ${at} is ${of('redis_version')}: upgrade it to ${OLDEST.join('.')} or later`);
  if (of('redis_mode') === 'sentinel')
    throw new RedisRefused(
      `Redis at ${at} is a Sentinel: name it in redis.sentinels, and the master in redis.sentinel_master`,
    );
  const clustered = of('cluster_enabled') === '1';
  if (kind === 'cluster' && !clustered)
    throw new RedisRefused(
      `Redis at ${at} is not part of a cluster: name it in redis.url, and leave redis.nodes empty`,
    );
  if (kind !== 'cluster' && clustered)
    throw new RedisRefused(`Redis at ${at} is part of a cluster: name some of its nodes in redis.nodes (${at}, …)`);
  const policy = of('maxmemory_policy') ?? 'noeviction';
  if (Number(of('maxmemory') ?? 0) > 0 && policy !== 'noeviction')
    throw new RedisRefused(
      `Redis at ${at} throws data away when its memory is full (maxmemory-policy ${policy}): set it to noeviction`,
    );
  if (kind === 'single' && of('role') === 'slave')
    throw new RedisRefused(
      `Redis at ${at} is a replica: name its master (${of('master_host')}:${of('master_port')}) in redis.url, or Sentinels`,
    );
}

/** Why there is no talking to it. */
async function explained(settings: Settings, address: Address, error: Error): Promise<Error> {
  const at = written(address);
  const { code = '', message } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new RedisUnavailable(`There is no host ${address.host} (${code})`, cause);
  if (/^NOAUTH/.test(message))
    return new RedisRefused(`Redis at ${at} asks for a password: set redis.password (or THRUM_REDIS_PASSWORD)`, cause);
  const refused = forbidden(at, error);
  if (refused !== undefined) return refused;
  if (/^DENIED/.test(message))
    return new RedisRefused(
      `Redis at ${at} is in protected mode, without a password: set requirepass there, and redis.password`,
      cause,
    );
  if (UNKNOWN_TO_IT.test(code))
    return new RedisRefused(
      settings.tls?.cert === undefined
        ? `Redis at ${at} wants a client certificate: name one in redis.certificate and redis.key, or set tls-auth-clients no there`
        : `Redis at ${at} does not take the certificate in redis.certificate (${code}): name one of an authority in its tls-ca-cert-file`,
      cause,
    );
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = (error as { cert?: { subjectaltname?: string } }).cert?.subjectaltname ?? 'none';
    return new RedisRefused(
      `The certificate of Redis at ${at} is for other names (${names}): write one of them in redis.server_name`,
      cause,
    );
  }
  if (UNTRUSTED.test(code))
    return new RedisRefused(
      `The certificate of Redis at ${at} is not trusted (${message}): name the PEM file of its authority in redis.ca`,
      cause,
    );
  if (code !== 'ECONNREFUSED' && !/^LOADING/.test(message)) {
    const otherwise = await otherwiseSpoken(settings, address, 'Redis');
    if (otherwise !== undefined) return new RedisRefused(otherwise, cause);
  }
  if (/^Protocol error/.test(message))
    return new RedisRefused(`What answers at ${at} is no Redis: correct ${keyOf(settings)}`, cause);
  return new RedisUnavailable(`There is no Redis at ${at} (${message})`, cause);
}

export function keyOf({ kind }: Settings): string {
  return kind === 'cluster' ? 'redis.nodes' : kind === 'sentinel' ? 'redis.sentinels' : 'redis.url';
}
