import type { HttpRequest, HttpResponse } from 'uWebSockets.js';

export interface Answer {
  /** `200 OK` when not given. */
  status?: string;
  type: string;
  body: string;
  headers?: Readonly<Record<string, string>>;
}

/** Makes the answer to one request; undefined means that there is no such thing. */
export type Page = (request: Request) => Answer | Promise<Answer>;

/** What of a request outlives its callback. */
export interface Request {
  host: string;
  /** As a proxy in front tells it. */
  forwardedProto: string;
  secure: boolean;
}

const TEXT = 'text/plain; charset=utf-8';

/** Nothing here may be framed, sniffed, or run anything; nothing is worth keeping. */
const SECURITY: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

export function text(status: string, body: string, headers?: Readonly<Record<string, string>>): Answer {
  return { status, type: TEXT, body, ...(headers && { headers }) };
}

export function json(value: unknown, status?: string): Answer {
  return { ...(status !== undefined && { status }), type: 'application/json', body: `${JSON.stringify(value)}\n` };
}

/** Answers GET with the page and HEAD with its headers; everything else with 405 (RFC 9110 §15.5.6). */
export function serve(page: Page, secure: boolean, failed: (error: unknown) => void) {
  return (response: HttpResponse, request: HttpRequest): void => {
    const method = request.getMethod();
    if (method === 'options') return send(response, { type: TEXT, body: '', status: '204 No Content', headers: ALLOW });
    if (method !== 'get' && method !== 'head') {
      return send(response, text('405 Method Not Allowed', 'Only GET and HEAD are served here.\n', ALLOW));
    }
    const head = method === 'head';
    const facts = {
      host: request.getHeader('host'),
      forwardedProto: request.getHeader('x-forwarded-proto'),
      secure,
    };
    const answer = page(facts);
    if (!(answer instanceof Promise)) return send(response, answer, head);
    // The response is gone when the client is: writing to it then would end the process.
    let aborted = false;
    response.onAborted(() => (aborted = true));
    const settle = (settled: Answer) => {
      if (!aborted) response.cork(() => send(response, settled, head));
    };
    answer.then(settle, (error: unknown) => {
      failed(error);
      settle(text('503 Service Unavailable', 'This cannot be answered now.\n'));
    });
  };
}

type Handler = (response: HttpResponse, request: HttpRequest) => void;

/** Answers with 429 (RFC 6585 §4) instead, where the client may not have more. */
export function rationed(
  mayRequest: (response: HttpResponse, request: HttpRequest) => boolean,
): (handler: Handler) => Handler {
  return (handler) => (response, request) => {
    if (mayRequest(response, request)) return handler(response, request);
    const head = request.getMethod() === 'head';
    send(response, text('429 Too Many Requests', 'Too many requests; come back in a minute.\n', RETRY), head);
  };
}

/** What no route serves. */
export function notFound(response: HttpResponse, request: HttpRequest): void {
  send(response, text('404 Not Found', 'There is nothing here.\n'), request.getMethod() === 'head');
}

const RETRY = { 'Retry-After': '60' };
const ALLOW = { Allow: 'GET, HEAD, OPTIONS' };

function send(response: HttpResponse, { status, type, body, headers }: Answer, head = false): void {
  if (status !== undefined) response.writeStatus(status);
  response.writeHeader('Content-Type', type);
  for (const name in SECURITY) if (headers?.[name] === undefined) response.writeHeader(name, SECURITY[name]!);
  for (const name in headers) response.writeHeader(name, headers[name]!);
  if (!head) return void response.end(body);
  // Given a body, uWebSockets.js would send it to HEAD also; without one it takes the request for unanswered: it asks
  // for an abort handler, and the connection serves no further request.
  response.onAborted(() => undefined);
  response.endWithoutBody(Buffer.byteLength(body), true);
}
