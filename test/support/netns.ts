import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Of this process, so that several may run side by side. */
const MINE = `thrum-${process.pid}-`;
/** In /proc/net/tcp. */
const LISTEN = '0A';
/** The end of links that lies in the machine's own namespace. */
const HERE = 'here';

function ip(...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  return stdout;
}

/** Whether this machine lets us have networks of our own. */
export const namespacesAllowed = ((): boolean => {
  if (process.platform !== 'linux') return false;
  const name = `${MINE}try`;
  try {
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'add', 'name', 'one', 'type', 'veth', 'peer', 'name', 'other');
    return true;
  } catch (error) {
    console.warn(`Network namespaces cannot be made (${(error as Error).message}): tests that need them are skipped.`);
    return false;
  } finally {
    spawnSync('ip', ['netns', 'del', name]);
  }
})();

/**
 * Machines of a test, each a network namespace with one address, and cables between some of them. Every machine has a cable to the
 * test itself, which is never cut.
 */
export class Network {
  private readonly addresses = new Map<string, string>();
  private readonly remove = (): void => this.close();

  private constructor(
    private readonly subnet: string,
    readonly names: readonly string[],
  ) {}

  /** @throws where `ip` refuses; then nothing is left of it. */
  static of(names: readonly string[], cables: readonly (readonly [string, string])[]): Network {
    sweep();
    const network = new Network(freeSubnet(), names);
    process.once('exit', network.remove);
    try {
      network.build(cables);
    } catch (error) {
      network.close();
      throw error;
    }
    return network;
  }

  private build(cables: readonly (readonly [string, string])[]): void {
    this.addresses.set(HERE, `${this.subnet}.254`);
    for (const [index, name] of this.names.entries()) {
      const address = `${this.subnet}.${index + 1}`;
      this.addresses.set(name, address);
      ip('netns', 'add', MINE + name);
      ip('-n', MINE + name, 'link', 'set', 'lo', 'up');
      ip('-n', MINE + name, 'address', 'add', `${address}/32`, 'dev', 'lo');
      const end = `thrum${process.pid}x${index}`;
      ip('link', 'add', 'name', end, 'type', 'veth', 'peer', 'name', HERE, 'netns', MINE + name);
      ip('address', 'add', `${this.address(HERE)}/32`, 'dev', end);
      ip('link', 'set', 'dev', end, 'up');
      ip('route', 'add', address, 'dev', end, 'src', this.address(HERE));
      this.plug(name, HERE);
    }
    for (const [one, other] of cables) {
      const peer = ['type', 'veth', 'peer', 'name', one, 'netns', MINE + other];
      ip('-n', MINE + one, 'link', 'add', 'name', other, ...peer);
      this.mend(one, other);
    }
  }

  address(name: string): string {
    return this.addresses.get(name)!;
  }

  /** What stands in front of a command that is to run there. */
  on(name: string): { host: string; command: string[] } {
    return { host: this.address(name), command: ['ip', 'netns', 'exec', MINE + name] };
  }

  /** Pulls the cable: nothing comes through any more, and nobody is told. */
  cut(one: string, other: string): void {
    ip('-n', MINE + one, 'link', 'set', 'dev', other, 'down');
  }

  /** What `from` sends to `to` is lost; the other direction goes on. */
  mute(from: string, to: string): void {
    ip('-n', MINE + from, 'route', 'replace', 'blackhole', this.address(to));
  }

  /** After {@link cut} or {@link mute}. */
  mend(one: string, other: string): void {
    this.plug(one, other);
    this.plug(other, one);
  }

  /** The kernel forgets the way over a cable that was pulled. */
  private plug(from: string, to: string): void {
    ip('-n', MINE + from, 'link', 'set', 'dev', to, 'up');
    ip('-n', MINE + from, 'route', 'replace', this.address(to), 'dev', to, 'src', this.address(from));
  }

  /** Namespaces take their ends of the cables with them, and those the other ends. */
  close(): void {
    process.off('exit', this.remove);
    for (const [index, name] of this.names.entries()) {
      spawnSync('ip', ['link', 'del', `thrum${process.pid}x${index}`]);
      spawnSync('ip', ['netns', 'del', MINE + name]);
    }
  }
}

/** Bytes that connections of that machine have sent and that were not acknowledged. */
export function unsent(network: Network, name: string): number {
  const [program, ...args] = network.on(name).command;
  const { stdout } = spawnSync(program!, [...args, 'cat', '/proc/net/tcp'], { encoding: 'utf8' });
  // sl local remote state tx_queue:rx_queue …
  const queues = stdout
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state !== LISTEN);
  return queues.reduce((all, [, , , , queue = '0:0']) => all + parseInt(queue, 16), 0);
}

/** What tests have left that were killed themselves. */
function sweep(): void {
  for (const [name, pid] of ip('netns', 'list').matchAll(/^thrum-(\d+)-\S+/gm))
    if (!existsSync(`/proc/${pid}`)) spawnSync('ip', ['netns', 'del', name]);
}

/** 10.x.y, of which nothing but a default route knows here. */
function freeSubnet(): string {
  for (let at = process.pid; at < process.pid + 100; at++) {
    const subnet = `10.${(at >> 8) & 255}.${at & 255}`;
    const known =
      ip('-4', 'route', 'show', 'root', `${subnet}.0/24`) + ip('-4', 'route', 'show', 'match', `${subnet}.0/24`);
    if (known.split('\n').every((line) => line === '' || line.startsWith('default'))) return subnet;
  }
  throw new Error('no free addresses in 10.0.0.0/8');
}
