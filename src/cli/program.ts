import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { configured, type GlobalOptions } from './context.js';
import { TRANSPORTS } from './client/target.js';
import { CliError, EXIT, refusalOfSystem } from './failure.js';
import type { DemoOptions } from './demo.js';
import type { MigrateOptions } from './migrate.js';
import type { SensorOptions } from './sensor.js';
import type { WatchOptions } from './watch.js';

/** Thrum's version, from its package. */
export function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Runs the command line; resolves to the exit code: 0 done, 1 failed, 2 wrongly used or configured. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    // Commander has said what is wrong itself.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const failure = error instanceof CliError ? error : refusalOfSystem(error);
    if (failure === undefined) throw error;
    process.stderr.write(`thrum: ${failure.message}\n${failure.hint === undefined ? '' : `    → ${failure.hint}\n`}`);
    return failure.code;
  }
}

function program(): Command {
  const thrum = new Command('thrum')
    .description('A high-throughput IoT publish-subscribe broker that speaks XMPP.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addOption(new Option('-c, --config <file>', 'YAML file with settings (default: thrum.yaml where it exists)'))
    .addOption(
      new Option('-s, --set <key=value>', 'override a setting; may be repeated').argParser(
        (value: string, before: string[] = []) => [...before, value],
      ),
    )
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help for usage)')
    .exitOverride();
  examples(thrum, ['thrum start', 'thrum demo', 'thrum start --set c2s.port=15222 --set limits.enabled=false']);
  server(thrum);
  users(thrum);
  nodes(thrum);
  stores(thrum);
  clusters(thrum);
  clients(thrum);
  return thrum;
}

function server(thrum: Command): void {
  examples(
    command(thrum, 'start', 'run the broker in the foreground')
      .option('--json', 'print one line of JSON on stdout when ready; logs go to stderr')
      .action(async (options: GlobalOptions & { json?: boolean }, command: Command) => {
        const config = configured(command.optsWithGlobals());
        const { startServer } = await import('../server/start.js');
        await startServer(config, { json: options.json ?? false }).catch((error: Error) => {
          throw new CliError(`cannot start: ${error.message}`, startRemedy(error));
        });
      }),
    ['thrum start', 'thrum start --config /etc/thrum.yaml', 'thrum start --json --set store=memory --set c2s.port=0'],
  );
  examples(
    command(thrum, 'check-config', 'check the configuration, say what is wrong and what to do').action(
      (_options: object, command: Command) => {
        configured(command.optsWithGlobals());
        say('the configuration is good');
      },
    ),
    ['thrum check-config --config /etc/thrum.yaml'],
  );
  examples(
    command(thrum, 'config-reference', 'print every setting with default and meaning (Markdown)').action(async () => {
      const { reference } = await import('../config/reference.js');
      process.stdout.write(reference());
    }),
    ['thrum config-reference | less'],
  );
}

/** What to do when the broker does not start; an error of a worker has its text only. */
function startRemedy(error: Error): string | undefined {
  const { message } = error;
  if (/EADDRINUSE|in use$/.test(message))
    return 'another program listens there: stop it, or set another port (0 picks a free one)';
  if (/(listen|bind) EACCES/.test(message))
    return 'ports below 1024 need CAP_NET_BIND_SERVICE: give it, or set a higher port';
  if (/EADDRNOTAVAIL|^getaddrinfo /.test(message))
    return 'listen_address has to be an address of this machine; 0.0.0.0 or :: are all of them';
  return refusalOfSystem(error)?.hint;
}

function users(thrum: Command): void {
  const user = group(thrum, 'user', 'accounts, of a running broker or in its store');
  const password = (made: Command) =>
    made
      .option('--password-stdin', 'read the password from the first line of stdin')
      .option('--generate', 'make a random password and print it');
  const load = () => import('./user.js');
  examples(
    password(command(user, 'add <name>', 'make an account')).action(async (name: string, options, command: Command) =>
      say(await (await load()).userCommands.add(configured(command.optsWithGlobals()), name, options)),
    ),
    ['thrum user add ann', 'thrum user add sensor-17 --generate', 'thrum user add ann --password-stdin < secret.txt'],
  );
  examples(
    password(command(user, 'passwd <name>', 'change the password of an account')).action(
      async (name: string, options, command: Command) =>
        say(await (await load()).userCommands.passwd(configured(command.optsWithGlobals()), name, options)),
    ),
    ['thrum user passwd ann', 'thrum user passwd ann --generate'],
  );
  examples(
    command(user, 'remove <name>', 'remove an account, with its subscriptions and affiliations')
      .option('-y, --yes', 'do not ask')
      .action(async (name: string, options, command: Command) =>
        say(await (await load()).userCommands.remove(configured(command.optsWithGlobals()), name, options)),
      ),
    ['thrum user remove ann', 'thrum user remove ann --yes'],
  );
  examples(
    command(user, 'list', 'list the accounts')
      .option('--json', 'as JSON')
      .action(async (options, command: Command) =>
        say(await (await load()).userCommands.list(configured(command.optsWithGlobals()), options)),
      ),
    ['thrum user list', 'thrum user list --json'],
  );
}

function nodes(thrum: Command): void {
  const node = group(thrum, 'node', 'pub-sub nodes, of a running broker or in its store');
  const load = () => import('./node.js');
  examples(
    command(node, 'list', 'list the nodes')
      .option('--json', 'as JSON')
      .action(async (options, command: Command) =>
        say(await (await load()).nodeCommands.list(configured(command.optsWithGlobals()), options)),
      ),
    ['thrum node list', 'thrum node list --json'],
  );
  examples(
    command(node, 'show <name>', 'show a node: configuration, affiliations, subscriptions')
      .option('--json', 'as JSON')
      .action(async (name: string, options, command: Command) =>
        say(await (await load()).nodeCommands.show(configured(command.optsWithGlobals()), name, options)),
      ),
    ['thrum node show sensors/temperature'],
  );
  examples(
    command(node, 'remove <name>', 'remove a node with its items and subscriptions')
      .option('-y, --yes', 'do not ask')
      .action(async (name: string, options, command: Command) =>
        say(await (await load()).nodeCommands.remove(configured(command.optsWithGlobals()), name, options)),
      ),
    ['thrum node remove sensors/temperature --yes'],
  );
}

function stores(thrum: Command): void {
  examples(
    command(thrum, 'migrate', 'move everything that lasts from one store to another')
      .requiredOption('--from <store>', 'lmdb (in data_dir) or redis', place)
      .requiredOption('--to <store>', 'lmdb (in data_dir) or redis', place)
      .option('--verify-only', 'copy nothing, compare what both hold')
      .action(async (_options: object, command: Command) => {
        const { migrate } = await import('./migrate.js');
        const options: GlobalOptions & MigrateOptions = command.optsWithGlobals();
        say(await migrate(configured(options), options));
      }),
    [
      'thrum migrate --from lmdb --to redis --set redis.url=redis://10.0.0.5:6379/0',
      'thrum migrate --from redis --to lmdb --set data_dir=/var/lib/thrum',
      'thrum migrate --from lmdb --to redis --verify-only',
    ],
  );
}

function clusters(thrum: Command): void {
  const cluster = group(thrum, 'cluster', 'many hosts on one Redis');
  examples(
    command(cluster, 'status', 'show hosts, workers, lag, shards and Redis')
      .option('--json', 'as JSON')
      .action(async (options, command: Command) => {
        const { clusterStatus } = await import('./cluster.js');
        say(await clusterStatus(configured(command.optsWithGlobals()), options));
      }),
    ['thrum cluster status', 'thrum cluster status --json --set store=redis --set redis.url=redis://10.0.0.5:6379/0'],
  );
}

function clients(thrum: Command): void {
  examples(
    client(command(thrum, 'sensor', 'publish the readings of a simulated sensor'))
      .option('-n, --node <name>', 'node to publish to; made when missing', 'sensors/temperature')
      .option('-i, --interval <seconds>', 'time between two readings', seconds, 1)
      .option('--count <n>', 'end after that many readings', whole)
      .action(async (_options: object, command: Command) => {
        const { sensor } = await import('./sensor.js');
        const options: GlobalOptions & SensorOptions = command.optsWithGlobals();
        await sensor(configured(options), options);
      }),
    [
      'thrum sensor',
      'thrum sensor --node kitchen --interval 0.1',
      'thrum sensor --host example.org --jid ann@example.org',
    ],
  );
  examples(
    client(command(thrum, 'watch <node>', 'show what is published to a node, live'))
      .option('--count <n>', 'end after that many new items', whole)
      .action(async (node: string, _options: object, command: Command) => {
        const { watch } = await import('./watch.js');
        const options: GlobalOptions & WatchOptions = command.optsWithGlobals();
        await watch(configured(options), node, options);
      }),
    ['thrum watch sensors/temperature', 'thrum watch kitchen | tee kitchen.log'],
  );
  examples(
    client(command(thrum, 'demo', 'run a small fleet of sensors with a live dashboard'))
      .option('--sensors <n>', 'how many sensors', whole, 12)
      .option('-i, --interval <seconds>', 'time between two readings of a sensor', seconds, 0.2)
      .option('--duration <seconds>', 'end after that time', seconds)
      .action(async (_options: object, command: Command) => {
        const { demo } = await import('./demo.js');
        const options: GlobalOptions & DemoOptions = command.optsWithGlobals();
        await demo(configured(options), options);
      }),
    ['thrum demo', 'thrum demo --sensors 200 --interval 1', 'thrum demo --duration 10'],
  );
}

function command(parent: Command, usage: string, description: string): Command {
  return parent
    .command(usage)
    .description(description)
    .helpOption('-h, --help', 'print this help')
    .copyInheritedSettings(parent);
}

/** A command that only holds others. */
function group(parent: Command, name: string, description: string): Command {
  return command(parent, name, description).helpCommand(false);
}

/** Options of the commands that log in to a broker. */
function client(made: Command): Command {
  return made
    .option('--host <host>', 'where the broker is (default: the one of this configuration)')
    .option('--port <port>', 'its port', port)
    .addOption(new Option('--transport <how>', 'how to connect').choices(TRANSPORTS).default('starttls'))
    .option('--jid <jid>', 'account to use (default: a demo account of the broker on this machine)')
    .addOption(new Option('--password <password>', 'its password; asked for when missing').env('THRUM_PASSWORD'));
}

function examples(made: Command, lines: readonly string[]): void {
  made.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('It must be a number of seconds above 0.');
  return value;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1 up.');
  return value;
}

function place(text: string): 'lmdb' | 'redis' {
  if (text === 'lmdb' || text === 'redis') return text;
  if (text === 'memory')
    throw new InvalidArgumentError('The memory store is gone with its process: choose lmdb or redis.');
  throw new InvalidArgumentError('It must be lmdb or redis.');
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65535)
    throw new InvalidArgumentError('It must be from 1 to 65535.');
  return value;
}
