import uWS, { type HttpRequest, type HttpResponse, type TemplatedApp, type us_listen_socket } from 'uWebSockets.js';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { hostMeta, hostMetaJson, webSocketUrls, type Listeners } from './host-meta.js';
import { json, notFound, rationed, serve, text, type Page } from './responses.js';

export { findFreePort } from './ports.js';

/** RFC 7395 does not fix it; it is what browsers' clients try first. */
export const WEBSOCKET_PATH = '/xmpp-websocket';

/** What the TLS listener needs of the certificates: paths of PEM files, and the news of another certificate. */
export interface Certificates {
  readonly files: { readonly certificate: string; readonly key: string };
  onReload(listener: () => void): void;
}

export interface HttpOptions {
  config: Pick<Config, 'domain' | 'listen_address'>;
  log: Pick<Logger, 'info' | 'error'>;
  /** Agreed before, since every worker listens on it; undefined is off. */
  port: number | undefined;
  httpsPort: number | undefined;
  certificates?: Certificates | undefined;
  /** The pool's metrics in Prometheus' text format. */
  metricsText(): Promise<string>;
  /** Why no clients should be sent here now; empty when they are welcome. */
  readiness(): string[];
  /** Whether whoever asks may have one more answer; not asked for what tells of health. */
  mayRequest(response: HttpResponse, request: HttpRequest): boolean;
}

/** Adds routes, such as a WebSocket, to one application. */
export type Attachment = (app: TemplatedApp, secure: boolean) => void;

export interface HttpServer {
  /** Runs for the applications of both listeners, and again for the one that takes over with another certificate. */
  attach(attachment: Attachment): void;
  /** Rejects with a sentence that names the listener. */
  listen(): Promise<void>;
  /** Takes no more connections; those that are open stay. */
  stopListening(): void;
  /** Cuts everything. */
  close(): void;
}

interface Listener {
  app: TemplatedApp;
  socket: us_listen_socket | undefined;
}

/** HTTP of one worker: metrics, health, discovery; every worker listens on the same ports (SO_REUSEPORT). */
export function createHttp(options: HttpOptions): HttpServer {
  const { config, log, port, httpsPort, certificates } = options;
  const attachments: Attachment[] = [];
  /** Of the listeners that were replaced: their connections live on. */
  const former: TemplatedApp[] = [];
  let plain: Listener | undefined;
  let secure: Listener | undefined;
  let closing = false;

  const make = (tls: boolean): Listener => {
    const app = tls ? secureApp(certificates) : uWS.App();
    for (const attachment of attachments) attachment(app, tls);
    route(app, tls, options);
    return { app, socket: undefined };
  };

  certificates?.onReload(() => {
    if (secure === undefined || closing) return;
    // Both listen for a moment; then the old one takes no more, and its connections go on with the old certificate.
    const old = secure;
    const next = make(true);
    listenOn(next, config.listen_address, httpsPort!).then(
      () => {
        secure = next;
        former.push(old.app);
        stop(old);
        log.info({ https: httpsPort }, 'HTTPS uses the new certificate');
      },
      (error: unknown) => log.error({ err: error }, 'HTTPS goes on with the old certificate'),
    );
  });

  return {
    attach: (attachment) => void attachments.push(attachment),
    async listen() {
      if (port !== undefined) await listenOn((plain = make(false)), config.listen_address, port);
      if (httpsPort !== undefined) await listenOn((secure = make(true)), config.listen_address, httpsPort);
    },
    stopListening() {
      closing = true;
      stop(plain);
      stop(secure);
    },
    close() {
      this.stopListening();
      for (const app of [plain?.app, secure?.app, ...former]) app?.close();
    },
  };
}

function secureApp(certificates: Certificates | undefined): TemplatedApp {
  if (certificates === undefined) throw new Error('HTTPS needs a certificate');
  const { certificate, key } = certificates.files;
  return uWS.SSLApp({ cert_file_name: certificate, key_file_name: key });
}

/** A load balancer that gets no answer there would take the broker for dead. */
const HEALTH = new Set(['/healthz', '/readyz']);

function route(app: TemplatedApp, secure: boolean, options: HttpOptions): void {
  const { config, port, httpsPort, log } = options;
  const listeners: Listeners = {
    domain: config.domain,
    address: config.listen_address,
    port,
    httpsPort,
    path: WEBSOCKET_PATH,
  };
  const pages: Record<string, Page> = {
    '/': () => landing(config.domain),
    '/healthz': () => json({ alive: true, pid: process.pid, uptime_seconds: Math.floor(process.uptime()) }),
    '/readyz': () => readiness(options.readiness()),
    '/metrics': async () => ({ type: 'text/plain; version=0.0.4; charset=utf-8', body: await options.metricsText() }),
    '/.well-known/host-meta': (request) => hostMeta(webSocketUrls(listeners, request)),
    '/.well-known/host-meta.json': (request) => hostMetaJson(webSocketUrls(listeners, request)),
    [WEBSOCKET_PATH]: () =>
      text('426 Upgrade Required', 'XMPP over WebSocket is served here (RFC 7395).\n', { Upgrade: 'websocket' }),
  };
  const failed = (path: string) => (error: unknown) => log.error({ err: error, path }, 'an HTTP request failed');
  const ration = rationed(options.mayRequest);
  for (const [path, page] of Object.entries(pages)) {
    const handler = serve(page, secure, failed(path));
    app.any(path, HEALTH.has(path) ? handler : ration(handler));
  }
  app.any('/*', ration(notFound));
}

function readiness(reasons: string[]) {
  return json({ ready: reasons.length === 0, reasons }, reasons.length === 0 ? undefined : '503 Service Unavailable');
}

function landing(domain: string) {
  const lines = [
    `Thrum serves ${domain}.`,
    '',
    `${WEBSOCKET_PATH}  XMPP over WebSocket`,
    '/metrics         for Prometheus',
    '/healthz         whether it lives',
    '/readyz          whether it takes clients',
    '/.well-known/host-meta, /.well-known/host-meta.json  how to connect',
  ];
  return text('200 OK', `${lines.join('\n')}\n`);
}

function listenOn(listener: Listener, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.app.listen(host, port, (socket) => {
      if (socket === false) return reject(new Error(`cannot listen on ${host}:${port} for HTTP: is the port in use?`));
      listener.socket = socket;
      resolve();
    });
  });
}

function stop(listener: Listener | undefined): void {
  if (listener?.socket === undefined) return;
  uWS.us_listen_socket_close(listener.socket);
  listener.socket = undefined;
}
