import { DOMAIN, type Broker } from './broker.js';
import { Client } from './client.js';
import { Finder, RECORD, Template } from './record.js';
import { inParallel, Meter, microseconds, type Result, type RunOptions } from './run.js';

export interface ChatOptions extends RunOptions {
  pairs: number;
  /** Messages that each user may have under way to its partner. */
  window: number;
}

const PARALLEL = 32;

/** Pairs of users, each sending to the other's bare JID as soon as what it sent has arrived. */
export async function chat(broker: Broker, { pairs, transport, window, seconds }: ChatOptions): Promise<Result> {
  const users = pairs * 2;
  const clients: Client[] = [];
  await inParallel(users, PARALLEL, async (i) => {
    clients[i] = await Client.login(broker, transport, i);
    await clients[i]!.available();
  });
  const meter = new Meter(users, users);
  const partner = (user: number) => user ^ 1;
  const templates = clients.map((client, i) => {
    const body = `see you at the mill tonight, bring the lamp ${RECORD}`;
    return new Template(
      client.encode(`<message to='u${partner(i)}@${DOMAIN}' type='chat'><body>${body}</body></message>`),
    );
  });
  const free = new Int32Array(users).fill(window);
  const ready = new Set<number>(free.keys());
  const turn = (): void => {
    if (meter.running) {
      const now = microseconds();
      for (const user of ready) {
        const template = templates[user]!;
        const bytes = Buffer.allocUnsafe(template.length * free[user]!);
        for (let i = 0; i < free[user]!; i++) template.put(bytes, i * template.length, user, meter.sent[user]++, now);
        clients[user]!.write(bytes);
        free[user] = 0;
      }
    }
    ready.clear();
  };
  const finders = clients.map((client, user) => {
    client.onLost = (error) => (meter.problem ??= error);
    let now = 0;
    const finder = new Finder({
      record: (sender, seq, time) => {
        meter.received(user, sender, seq, time, now);
        free[sender]++;
        if (ready.size === 0) setImmediate(turn);
        ready.add(sender);
      },
      answer: () => undefined,
    });
    client.consume((chunk) => {
      now = microseconds();
      finder.feed(chunk);
    });
    return finder;
  });
  turn();
  const errors = () => finders.reduce((sum, finder) => sum + finder.errors, 0);
  const result = await meter.measure(broker, seconds, (receiver, sender) => sender === partner(receiver), errors);
  for (const client of clients) client.close();
  return result;
}
