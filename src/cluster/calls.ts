/** What supervisor and worker say to each other over the process's IPC channel. */
export interface PoolMessage {
  thrum: 'ask' | 'tell' | 'answer' | 'refusal';
  id?: number;
  name?: string;
  body?: unknown;
}

/** `body` is what the other side gave: JSON whose shape the two sides agree on by the name. */
// `any`: the handler states the shape that it agreed on with the caller.
export type CallHandler<From> = (body: any, from: From) => unknown;

const ASK_MS = 5_000;

/** Questions, answers and news between two processes; whoever knows a name's handler answers. */
export class Calls<From> {
  private readonly waiting = new Map<
    number,
    { resolve: (body: unknown) => void; reject: (error: Error) => void; timer: NodeJS.Timeout }
  >();
  private last = 0;
  private over: string | undefined;

  constructor(
    /** How the other side is called in errors. */
    private readonly other: string,
    private readonly post: (message: PoolMessage) => void,
    private readonly find: (name: string) => CallHandler<From> | undefined,
    private readonly from: From,
    /** A handler of news failed; of a question, the asker is told. */
    private readonly trouble: (error: unknown) => void,
  ) {}

  /** Rejects with the other side's error text, or when it ends or is silent for `timeoutMs`. */
  ask(name: string, body?: unknown, timeoutMs = ASK_MS): Promise<unknown> {
    if (this.over !== undefined) return Promise.reject(new Error(this.over));
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`${this.other} does not answer '${name}'`));
      }, timeoutMs);
      this.waiting.set(id, { resolve, reject, timer });
      this.post({ thrum: 'ask', id, name, body });
    });
  }

  tell(name: string, body?: unknown): void {
    if (this.over === undefined) this.post({ thrum: 'tell', name, body });
  }

  /** True when the message was one of ours. */
  receive(message: unknown): boolean {
    if (typeof message !== 'object' || message === null || !('thrum' in message)) return false;
    const { thrum, id = 0, name = '', body } = message as PoolMessage;
    if (thrum === 'ask') void this.answer(id, name, body);
    else if (thrum === 'tell') void this.hear(name, body);
    else {
      const waiting = this.waiting.get(id);
      if (!waiting) return true;
      this.waiting.delete(id);
      clearTimeout(waiting.timer);
      if (thrum === 'answer') waiting.resolve(body);
      else waiting.reject(new Error(String(body)));
    }
    return true;
  }

  /** The other side is gone. */
  end(reason: string): void {
    this.over = reason;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new Error(reason));
    }
    this.waiting.clear();
  }

  private async hear(name: string, body: unknown): Promise<void> {
    try {
      await this.find(name)?.(body, this.from);
    } catch (error) {
      this.trouble(error);
    }
  }

  private async answer(id: number, name: string, body: unknown): Promise<void> {
    try {
      const handler = this.find(name);
      if (!handler) throw new Error(`nobody handles '${name}'`);
      const result = await handler(body, this.from);
      if (this.over === undefined) this.post({ thrum: 'answer', id, body: result });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      if (this.over === undefined) this.post({ thrum: 'refusal', id, body: text });
    }
  }
}
