import { Redis as Client } from 'ioredis';
import { Question, sendAlone } from './command.js';
import { otherwiseSpoken } from './greeting.js';
import { RedisRefused, RedisUnavailable } from './redis.js';
import { type Address, type Settings, clientOptions, written } from './settings.js';

/**
 * Where the master is that the Sentinels know by the configured name. Sentinels that ask for a password get that of Redis.
 *
 * @throws RedisRefused when they know none of that name, or are none
 * @throws RedisUnavailable when none of them answers
 */
export async function masterOf(settings: Settings): Promise<Address> {
  let failure: Error | undefined;
  for (const address of settings.addresses) {
    try {
      const answer = await ask(settings, address).catch((error: Error) => {
        if (!/^NOAUTH/.test(error.message) || settings.password === '') throw error;
        settings.sentinelPassword = settings.password;
        return ask(settings, address);
      });
      if (answer !== null) return answer;
      throw new RedisRefused(
        `The Sentinel at ${written(address)} knows no master "${settings.master}": correct redis.sentinel_master`,
      );
    } catch (error) {
      failure = await explained(settings, address, error as Error);
      if (failure instanceof RedisRefused) throw failure;
    }
  }
  throw new RedisUnavailable(`None of redis.sentinels answers (${failure?.message})`, { cause: failure });
}

async function ask(settings: Settings, address: Address): Promise<Address | null> {
  const { username: _, password: __, db: ___, ...options } = clientOptions({ ...settings, kind: 'single' }, address);
  const password = settings.sentinelPassword;
  const client = new Client({ ...options, password, enableReadyCheck: false, retryStrategy: () => null });
  let failure: Error | undefined;
  client.on('error', (error: Error) => (failure ??= error));
  try {
    await client.connect();
    const question = new Question('SENTINEL', ['get-master-addr-by-name', settings.master]);
    sendAlone(client, question);
    const answer = (await question.answer) as [Buffer, Buffer] | null;
    return answer && { host: String(answer[0]), port: Number(String(answer[1])) };
  } catch (error) {
    throw failure ?? error;
  } finally {
    client.disconnect();
  }
}

async function explained(settings: Settings, address: Address, error: Error): Promise<Error> {
  if (error instanceof RedisRefused) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const at = written(address);
  if (/^ERR unknown command/.test(message))
    return new RedisRefused(`${at} is no Sentinel: name Sentinels in redis.sentinels (port 26379)`);
  if (/^(NOAUTH|WRONGPASS)/.test(message))
    return new RedisRefused(
      `The Sentinel at ${at} asks for another password than Redis: give both the same, or the Sentinel none`,
    );
  const otherwise = code === 'ECONNREFUSED' ? undefined : await otherwiseSpoken(settings, address, 'The Sentinel');
  return otherwise === undefined ? error : new RedisRefused(otherwise, { cause: error });
}
