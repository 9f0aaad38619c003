import { Redis as Client } from 'ioredis';
import { Question, Remark, sendAlone } from './command.js';
import { type Fault, faultOf } from './faults.js';
import { type BlockingRedis, type RedisArgument, RedisUnavailable } from './redis.js';
import type { Servers } from './servers.js';
import { type Settings, STUCK_MS, addressOf, clientOptions } from './settings.js';

/** How long a command may wait by its own argument `BLOCK`; 0 is for ever. */
function blockMs(args: readonly RedisArgument[]): number {
  const at = args.findIndex((arg) => typeof arg === 'string' && arg.toUpperCase() === 'BLOCK');
  return at < 0 ? 0 : Number(args[at + 1]) || Infinity;
}

/** A connection for commands that block, to the server that has the key. */
export class Blocking implements BlockingRedis {
  private client: Client | undefined;
  /** What the client was connected to. */
  private address: string | undefined;
  /** Who has the key while its slot is on its way, as the one `instead` of whom it is to be asked has said. */
  private asked: { address: string; instead: string } | undefined;
  private closed = false;

  constructor(
    private readonly settings: Settings,
    private readonly servers: Servers,
    private readonly slot: number,
    private readonly gone: () => void,
  ) {}

  async call(command: string, args: readonly RedisArgument[]): Promise<unknown> {
    const client = await this.connected();
    const question = new Question(command, args);
    if (this.address === this.asked?.address) sendAlone(client, new Remark('ASKING', []));
    sendAlone(client, question);
    const bound = blockMs(args) + STUCK_MS;
    const late = bound === Infinity ? undefined : setTimeout(() => client.stream.destroy(), bound);
    try {
      return await question.answer;
    } catch (error) {
      const fault = faultOf(error as Error);
      if (fault.kind === 'refused') throw error;
      if (fault.kind === 'moved' || fault.kind === 'ask') this.redirected(fault);
      if (fault.kind === 'lost' || fault.kind === 'moved') this.drop(client);
      if (fault.kind === 'wait' && fault.stale) {
        this.drop(client);
        void this.servers.refresh();
      }
      throw new RedisUnavailable(`${command} was broken off (${(error as Error).message}).`, { cause: error });
    } finally {
      clearTimeout(late);
    }
  }

  private redirected({ kind, slot, address }: Extract<Fault, { address: string }>): void {
    const from = this.servers.of(this.slot);
    this.asked = undefined;
    if (from === undefined) return;
    if (kind === 'moved') this.servers.moved(slot, address, from);
    else this.asked = { address: this.servers.at(address, from).address, instead: from.address };
  }

  private async connected(): Promise<Client> {
    if (this.closed) throw new RedisUnavailable('The connection was closed.');
    const server = this.servers.of(this.slot);
    if (server === undefined) {
      void this.servers.refresh();
      throw new RedisUnavailable('Nobody serves the key at the moment.');
    }
    // It is there for good, or nobody knows any more.
    if (this.asked?.instead !== server.address) this.asked = undefined;
    const at = this.asked?.address ?? server.address;
    if (this.client?.status === 'ready' && this.address === at) return this.client;
    if (this.client !== undefined) this.drop(this.client);
    const address = this.settings.kind === 'sentinel' ? undefined : addressOf('redis', at);
    const client = new Client({ ...clientOptions(this.settings, address), retryStrategy: () => null });
    this.client = client;
    this.address = at;
    client.on('error', () => undefined);
    const late = setTimeout(() => client.disconnect(), 2 * STUCK_MS);
    try {
      await client.connect();
    } catch (error) {
      this.drop(client);
      throw new RedisUnavailable(`There is no connection to ${at}.`, { cause: error });
    } finally {
      clearTimeout(late);
    }
    // It was closed in the meantime.
    if (this.client !== client) throw new RedisUnavailable('The connection was closed.');
    return client;
  }

  private drop(client: Client): void {
    client.disconnect();
    if (this.client === client) this.client = undefined;
  }

  close(): void {
    this.closed = true;
    if (this.client !== undefined) this.drop(this.client);
    this.gone();
  }
}
