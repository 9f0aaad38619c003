import { xml } from '@xmpp/client';
import type { Config } from '../config/config.js';
import { suggest } from '../config/suggest.js';
import { login, type LoginOptions } from './client/account.js';
import { disconnect } from './client/connect.js';
import { conditionOf, PubSubClient, type Item } from './client/pubsub.js';
import { CliError } from './failure.js';
import { Screen } from './render/screen.js';
import { watchLine, WatchView, type Seen } from './render/watch-view.js';
import { printable } from './text.js';
import { pause, stopped, untilStopped } from './until.js';

export interface WatchOptions extends LoginOptions {
  /** Ends after that many new items. */
  count?: number;
}

/** Before a subscription is asked for again. */
const RETRY_MS = 2_000;

/** Milliseconds between two drawings of the screen. */
const FRAME_MS = 200;

/** Shows the last item of a node, then each new one as it comes: a live view on a terminal, lines in a pipe. */
export async function watch(config: Config, node: string, options: WatchOptions): Promise<void> {
  const account = await login(config, options);
  const xmpp = await account.connect();
  const pubsub = new PubSubClient(xmpp, account.target.pubsub);
  try {
    await untilStopped(async (signal) => {
      const end = new AbortController();
      const ended = AbortSignal.any([signal, end.signal]);
      const view = process.stdout.isTTY ? liveView(node, pubsub.service) : undefined;
      const print = view?.show ?? ((seen: Seen) => process.stdout.write(`${watchLine(seen)}\n`));
      const note = view?.note ?? ((text: string) => process.stderr.write(`thrum: ${text}\n`));
      let shown: string | undefined;
      const show = (item: Item, old: boolean) => {
        shown = fingerprint(item);
        print({ item, received: Date.now(), old });
      };
      let left = options.count ?? Infinity;
      // The service may send the last item by itself when we subscribe (XEP-0060 §6.1.7); we ask for it anyway.
      let expected: string | undefined;
      pubsub.listen(
        (from, item) => {
          if (from !== node || left <= 0) return;
          const repeated = fingerprint(item) === expected;
          expected = undefined;
          if (repeated) return;
          show(item, false);
          if (--left <= 0) end.abort();
        },
        (from) => from === node && end.abort(new CliError(`${printable(node)} was deleted`)),
      );
      const begin = async () => {
        await xmpp.send(xml('presence', {}, xml('priority', {}, '-1')));
        const last = await pubsub.latest(node);
        expected = last && fingerprint(last);
        if (last && expected !== shown) show(last, true);
        return pubsub.subscribe(node);
      };
      let subid = await begin().catch(async (error: unknown) => Promise.reject(await explain(error, pubsub, node)));
      let lost = false;
      const again = () => {
        lost = false;
        void begin().then(
          (id) => (subid = id),
          () => {
            if (xmpp.status !== 'online' || ended.aborted) return;
            note('cannot subscribe again, trying');
            setTimeout(again, RETRY_MS);
          },
        );
      };
      const cut = () => {
        // Said once: the next tries end the same way.
        if (!lost) note('connection lost, trying again');
        lost = true;
      };
      xmpp.on('online', again);
      xmpp.on('disconnect', cut);
      await Promise.all([stopped(ended), view?.run(ended)]);
      xmpp.off('online', again);
      xmpp.off('disconnect', cut);
      if (end.signal.reason instanceof CliError) throw end.signal.reason;
      // A connection that is gone takes its subscription's use with it.
      await pubsub.unsubscribe(node, subid).catch(() => undefined);
    });
  } finally {
    await disconnect(xmpp);
  }
}

function fingerprint(item: Item): string {
  return `${item.id} ${item.payload?.toString() ?? ''}`;
}

function liveView(node: string, service: string) {
  const view = new WatchView(node, service);
  const screen = new Screen(process.stdout);
  let note = '';
  return {
    show: (seen: Seen) => {
      note = '';
      view.add(seen);
    },
    note: (text: string) => void (note = text),
    async run(signal: AbortSignal): Promise<void> {
      screen.open();
      try {
        while (!signal.aborted) {
          screen.draw(view.lines(Date.now(), screen.columns, screen.rows, note));
          await pause(FRAME_MS, signal);
        }
      } finally {
        screen.close();
      }
    },
  };
}

async function explain(error: unknown, pubsub: PubSubClient, node: string): Promise<unknown> {
  const condition = conditionOf(error);
  if (condition === undefined) return error;
  const name = printable(node);
  if (condition !== 'item-not-found')
    return new CliError(`${name} at ${pubsub.service} cannot be watched: ${condition}`);
  const near = suggest(node, await pubsub.nodes().catch(() => []));
  const hint = near === undefined ? `thrum sensor --node ${name} makes it` : `did you mean ${printable(near)}?`;
  return new CliError(`there is no node ${name} at ${pubsub.service}`, hint);
}
