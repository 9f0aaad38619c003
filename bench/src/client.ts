import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { DOMAIN, HOST, PASSWORD, placeOf, type Broker } from './broker.js';

export const TRANSPORTS = ['tcp', 'tls', 'ws'] as const;
export type Transport = (typeof TRANSPORTS)[number];

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const LOGIN_MS = 30_000;

/** A client that speaks by templates: what it waits for it finds by searching text. After login it only counts bytes. */
export class Client {
  jid = '';
  private text = '';
  private wake: (() => void) | undefined;
  private problem: Error | undefined;
  private consumer: ((chunk: Buffer) => void) | undefined;
  private readonly framed: boolean;
  private ids = 0;

  private constructor(
    private readonly socket: Socket,
    transport: Transport,
  ) {
    this.framed = transport === 'ws';
    socket.on('data', (chunk: Buffer) => {
      if (this.consumer !== undefined) return this.consumer(chunk);
      this.text += chunk.toString('latin1');
      this.wake?.();
    });
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the broker closed the connection')));
  }

  /** Connects and logs in by PLAIN as `u<number>`; with the identifier of a session, goes on with that if it is there. */
  static async login(broker: Broker, transport: Transport, number: number, previd?: string): Promise<Client> {
    const place = placeOf(broker, number);
    const client = new Client(await open(place, transport), transport);
    if (client.framed) await client.upgrade(place.http);
    await client.openStream();
    const credentials = Buffer.from(`\0u${number}\0${PASSWORD}`).toString('base64');
    client.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${credentials}</auth>`);
    await client.authenticated();
    await client.openStream();
    if (previd !== undefined && (await client.resume(previd))) return client;
    const bound = await client.request(
      'set',
      `<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>`,
    );
    client.jid = /<jid>([^<]*)<\/jid>/.exec(bound)?.[1] ?? '';
    return client;
  }

  private async upgrade(port: number): Promise<void> {
    const key = randomBytes(16).toString('base64');
    this.socket.write(
      `GET /xmpp-websocket HTTP/1.1\r\nHost: ${HOST}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n`,
    );
    const head = await this.until('\r\n\r\n');
    if (!head.startsWith('HTTP/1.1 101')) throw new Error(`no WebSocket: ${head}`);
  }

  private async openStream(): Promise<void> {
    this.send(
      this.framed
        ? `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='${DOMAIN}' version='1.0'/>`
        : `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='${DOMAIN}' version='1.0'>`,
    );
    await this.until('</stream:features>');
  }

  private async authenticated(): Promise<void> {
    const end = /<success\b|<\/failure>/;
    const answer = await this.until((text) => {
      const found = end.exec(text);
      return found === null ? -1 : found.index + found[0].length;
    });
    if (answer.endsWith('<success')) return;
    // Who comes again later does not leave this one lying about.
    this.abort();
    throw new Error(`the broker refused the login: ${answer}`);
  }

  /** Sends available presence: notifications come to available resources only. */
  async available(): Promise<void> {
    this.send(this.stanza('<presence/>'));
    await this.request('get', "<ping xmlns='urn:xmpp:ping'/>", DOMAIN);
  }

  /** Resolves to the text of the answer and all that came before; rejects when it is an error. */
  async request(type: 'get' | 'set', payload: string, to?: string): Promise<string> {
    const id = `b${++this.ids}-`;
    const address = to === undefined ? '' : ` to='${to}'`;
    this.send(this.stanza(`<iq type='${type}' id='${id}'${address}>${payload}</iq>`));
    const start = new RegExp(`<iq\\b[^>]*\\bid=['"]${id}['"][^>]*>`);
    const whole = await this.until((text) => {
      const found = start.exec(text);
      if (found === null) return -1;
      if (found[0].endsWith('/>')) return found.index + found[0].length;
      const end = text.indexOf('</iq>', found.index);
      return end < 0 ? -1 : end + '</iq>'.length;
    });
    if (/type=['"]error/.test(start.exec(whole)![0])) throw new Error(`the broker refused ${payload}: ${whole}`);
    return whole;
  }

  pubsub(payload: string, owner = false): Promise<string> {
    return this.request('set', `<pubsub xmlns='${PUBSUB}${owner ? '#owner' : ''}'>${payload}</pubsub>`, SERVICE);
  }

  async createNode(node: string, persist: boolean): Promise<void> {
    const fields: Record<string, string> = {
      'pubsub#persist_items': persist ? '1' : '0',
      'pubsub#access_model': 'open',
      'pubsub#publish_model': 'open',
      ...(persist && { 'pubsub#max_items': '10' }),
    };
    const form = Object.entries({ FORM_TYPE: `${PUBSUB}#node_config`, ...fields })
      .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
      .join('');
    await this.pubsub(
      `<create node='${node}'/><configure><x xmlns='jabber:x:data' type='submit'>${form}</x></configure>`,
    );
  }

  async subscribe(node: string): Promise<void> {
    await this.pubsub(`<subscribe node='${node}' jid='${this.jid.split('/')[0]}'/>`);
  }

  /** Stream management without resumption (XEP-0198): every stanza to us is counted by the broker from here on. */
  async enableAcknowledgements(): Promise<void> {
    this.send("<enable xmlns='urn:xmpp:sm:3'/>");
    await this.until('<enabled');
    await this.until('>');
  }

  /** Stream management with resumption (XEP-0198 §3, §5): resolves to the identifier that goes on with the session. */
  async enableResumption(): Promise<string> {
    this.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    await this.until('<enabled');
    return /\bid=['"]([^'"]*)/.exec(await this.until('>'))![1]!;
  }

  /** False where the session is gone. */
  private async resume(previd: string): Promise<boolean> {
    this.send(`<resume xmlns='urn:xmpp:sm:3' h='0' previd='${previd}'/>`);
    const end = /<(resumed)\b[^>]*>|<\/failed>/;
    const answer = await this.until((text) => {
      const found = end.exec(text);
      return found === null ? -1 : found.index + found[0].length;
    });
    return end.exec(answer)![1] !== undefined;
  }

  /** From here on every chunk goes there. */
  consume(consumer: (chunk: Buffer) => void): void {
    if (this.text !== '') consumer(Buffer.from(this.text, 'latin1'));
    this.text = '';
    this.consumer = consumer;
  }

  /** A stanza as bytes that can be written as they are, frame included. */
  encode(xml: string): Buffer {
    const bytes = Buffer.from(this.stanza(xml));
    return this.framed ? frame(bytes) : bytes;
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Bytes that the kernel has not taken yet. */
  get backlog(): number {
    return this.socket.writableLength;
  }

  send(xml: string): void {
    this.socket.write(this.framed ? frame(Buffer.from(xml)) : xml);
  }

  private stanza(xml: string): string {
    return this.framed ? xml.replace(/^<(iq|message|presence)/, "<$1 xmlns='jabber:client'") : xml;
  }

  close(): void {
    this.socket.removeAllListeners('close');
    this.socket.on('error', () => undefined);
    this.socket.end(this.framed ? frame(Buffer.alloc(0), 8) : '</stream:stream>');
    this.socket.resume();
  }

  /** Closed by a reset: leaves no socket in TIME_WAIT. */
  abort(): void {
    this.socket.removeAllListeners('close');
    // Node cannot reset a connection below TLS.
    if (this.socket instanceof TLSSocket) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  /** Waits for that text, or for what `what` finds the end of; it and all before it are taken. */
  private async until(what: string | ((text: string) => number)): Promise<string> {
    const find = typeof what === 'string' ? endOf(what) : what;
    for (;;) {
      const end = find(this.text);
      if (end >= 0) {
        const taken = this.text.slice(0, end);
        this.text = this.text.slice(end);
        return taken;
      }
      if (this.problem !== undefined) throw new Error(`${this.problem.message}; last heard: ${this.text}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer; last heard: ${this.text}`)), LOGIN_MS);
        this.wake = resolve;
      }).finally(() => clearTimeout(timer));
    }
  }

  private fail(error: Error): void {
    this.problem ??= error;
    this.wake?.();
    if (this.consumer !== undefined) this.onLost(error);
  }

  /** Called when the connection ends during a run. */
  onLost: (error: Error) => void = () => undefined;
}

function endOf(what: string): (text: string) => number {
  return (text) => {
    const at = text.indexOf(what);
    return at < 0 ? -1 : at + what.length;
  };
}

export const SERVICE = `pubsub.${DOMAIN}`;

async function open(broker: Broker, transport: Transport): Promise<Socket> {
  const port = transport === 'tcp' ? broker.c2s : transport === 'tls' ? broker.c2s_tls : broker.http;
  const socket =
    transport === 'tls'
      ? connectTls({ host: HOST, port, servername: DOMAIN, rejectUnauthorized: false, ALPNProtocols: ['xmpp-client'] })
      : connectTcp({ host: HOST, port });
  await once(socket, transport === 'tls' ? 'secureConnect' : 'connect');
  socket.setNoDelay(true);
  return socket;
}

/** A client's WebSocket frame. The mask is zero, which leaves the bytes as they are: templates stay templates. */
export function frame(payload: Buffer, opcode = 1): Buffer {
  const extended = payload.length < 126 ? 0 : payload.length < 65536 ? 2 : 8;
  const header = Buffer.alloc(2 + extended + 4);
  header[0] = 0x80 | opcode;
  header[1] = 0x80 | (extended === 0 ? payload.length : extended === 2 ? 126 : 127);
  if (extended === 2) header.writeUInt16BE(payload.length, 2);
  if (extended === 8) header.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([header, payload]);
}
