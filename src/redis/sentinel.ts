import { Redis as Client } from 'ioredis';
import { Question } from './command.js';
import { RedisRefused, RedisUnavailable } from './redis.js';
import { type Address, type Settings, clientOptions, written } from './settings.js';

/**
 * Where the master is that the Sentinels know by the configured name.
 *
 * @throws RedisRefused when they know none of that name, or are none
 * @throws RedisUnavailable when none of them answers
 */
export async function masterOf(settings: Settings): Promise<Address> {
  let failure: Error | undefined;
  for (const address of settings.addresses) {
    const { username: _, password: __, db: ___, ...options } = clientOptions({ ...settings, kind: 'single' }, address);
    const client = new Client({ ...options, enableReadyCheck: false, retryStrategy: () => null });
    client.on('error', (error: Error) => (failure ??= error));
    try {
      await client.connect();
      const question = new Question('SENTINEL', ['get-master-addr-by-name', settings.master]);
      client.sendCommand(question.asClientCommand);
      const answer = (await question.answer) as [Buffer, Buffer] | null;
      if (answer !== null) return { host: String(answer[0]), port: Number(String(answer[1])) };
      throw new RedisRefused(
        `The Sentinel at ${written(address)} knows no master "${settings.master}": correct redis.sentinel_master`,
      );
    } catch (error) {
      if (error instanceof RedisRefused) throw error;
      const { message } = error as Error;
      if (/^ERR unknown command/.test(message))
        throw new RedisRefused(`${written(address)} is no Sentinel: name Sentinels in redis.sentinels (port 26379)`);
      if (/^NOAUTH/.test(message))
        throw new RedisRefused(`The Sentinel at ${written(address)} asks for a password: let it ask for none`);
      failure ??= error as Error;
    } finally {
      client.disconnect();
    }
  }
  throw new RedisUnavailable(`None of redis.sentinels answers (${failure?.message})`, { cause: failure });
}
