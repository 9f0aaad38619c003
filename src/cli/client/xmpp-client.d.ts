/** The part of @xmpp/client 0.14 that Thrum's own clients use; the package brings no types. */
declare module '@xmpp/client' {
  import type { EventEmitter } from 'node:events';

  export interface XmlElement {
    name: string;
    attrs: Record<string, string>;
    children: (XmlElement | string)[];
    is(name: string, ns?: string): boolean;
    getChild(name: string, ns?: string): XmlElement | undefined;
    getChildren(name: string, ns?: string): XmlElement[];
    getChildElements(): XmlElement[];
    getChildText(name: string, ns?: string): string | null;
    text(): string;
    toString(): string;
  }

  export function xml(
    name: string,
    attrs?: Record<string, string | undefined>,
    ...children: (XmlElement | string | undefined | false)[]
  ): XmlElement;

  export interface XmppJid {
    local: string;
    domain: string;
    resource: string;
    bare(): XmppJid;
    toString(): string;
  }

  /** A class of connections, one per scheme of service URIs. */
  export interface TransportClass {
    new (options?: unknown): object;
    prototype: { socketParameters(service: string): unknown; Socket: new () => EventEmitter };
  }

  export interface XmppClient extends EventEmitter {
    jid: XmppJid | null;
    status: string;
    reconnect: { delay: number; start(): void; stop(): void };
    transports: TransportClass[];
    start(): Promise<XmppJid>;
    stop(): Promise<void>;
    send(element: XmlElement): Promise<void>;
    isSecure(): boolean;
  }

  export function client(options: {
    service: string;
    domain: string;
    username: string;
    credentials: Authenticate;
    resource?: string;
  }): XmppClient;

  /** Chooses one of the mechanisms that both sides know, best first, and calls `authenticate` with it. */
  export type Authenticate = (
    authenticate: (credentials: { username: string; password: string }, mechanism: string) => Promise<void>,
    mechanisms: string[],
    fast: unknown,
    entity: XmppClient,
  ) => Promise<void>;
}
