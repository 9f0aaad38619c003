import { z } from 'zod';

/**
 * The one source of the configuration: names, defaults, bounds and meaning. The loader's errors, the names of the
 * environment variables and docs/configuration.md all derive from it. Units stand in the names.
 */

const text = z.string();
const flag = z.boolean();
const whole = (least: number, most = Number.MAX_SAFE_INTEGER) => z.int().min(least).max(most);
const KIB = 1024;
const MIB = 1024 * KIB;

/** A listener's port. */
const port = z.union([whole(0, 65535), z.literal('off')]);

/** A section that may be left out, whole or in part. */
function section<Shape extends z.core.$ZodLooseShape>(shape: Shape, meaning: string) {
  return z
    .strictObject(shape)
    .prefault({} as never)
    .describe(meaning);
}

const contacts = (role: string) =>
  z.array(z.string().min(1)).default([]).describe(`Addresses (URIs such as mailto: or xmpp:) for ${role}.`);

export const schema = z.strictObject({
  domain: text
    .min(1)
    .max(1023)
    .default('localhost')
    .describe('The XMPP domain that this broker serves; accounts are user@domain.'),
  data_dir: text
    .min(1)
    .default('./data')
    .describe('Folder for the store, the self-signed certificate and the control socket; made when missing.'),
  store: z
    .enum(['lmdb', 'redis', 'memory'])
    .default('lmdb')
    .describe(
      'Where accounts, nodes and items are kept: lmdb (embedded, lasting), redis (shared by many hosts) or memory (for tests; one worker).',
    ),
  durability: z
    .enum(['commit', 'flush'])
    .default('commit')
    .describe(
      'When a publish counts as kept: commit (survives the death of the process) or flush (on disk, survives a power cut).',
    ),
  workers: whole(0, 256).default(0).describe('Worker processes; 0 means one per core, and one with the memory store.'),
  listen_address: text
    .min(1)
    .default('127.0.0.1')
    .describe('Address that all listeners bind; 0.0.0.0 or :: to serve the network.'),

  redis: section(
    {
      url: text
        .default('redis://127.0.0.1:6379/0')
        .describe(
          'Where a single Redis or Valkey is, as redis://[user:password@]host:port/database, or rediss:// for TLS; also gives user, password and TLS for nodes and sentinels.',
        ),
      nodes: z
        .array(text.min(1))
        .default([])
        .describe(
          'Some nodes of a Redis Cluster as host:port; the others are found through them. Replaces the host of url.',
        ),
      sentinels: z
        .array(text.min(1))
        .default([])
        .describe('Sentinels as host:port that know where the master is. Replaces the host of url.'),
      sentinel_master: text.min(1).default('mymaster').describe('The name under which the Sentinels know the master.'),
      username: text.default('').describe('User to authenticate as; empty takes that of url.'),
      password: text.default('').describe('Password; empty takes that of url. Better given as THRUM_REDIS_PASSWORD.'),
      ca: text
        .default('')
        .describe('PEM file with the authority of the Redis certificate; empty trusts those of the system.'),
      server_name: text
        .default('')
        .describe(
          'Name that the Redis certificate is for, where that is not the host in url, nodes or sentinels; a Redis Cluster shows addresses, which certificates seldom have.',
        ),
      certificate: text
        .default('')
        .describe('PEM file with the certificate that Redis asks for (its tls-auth-clients); empty shows none.'),
      key: text.default('').describe('PEM file with the key of redis.certificate.'),
      prefix: text
        .regex(/^[A-Za-z0-9_.:-]+$/, 'must be letters, digits, "_", ".", ":" and "-"')
        .max(64)
        .default('thrum')
        .describe('First part of every key; two clusters in one Redis need two.'),
      patience_seconds: whole(1, 300)
        .default(5)
        .describe('How long a request waits for a Redis that is away before it is answered with a wait error.'),
      replicas: whole(0, 16)
        .default(0)
        .describe('Replicas that must have a write before it counts as kept (WAIT); 0 asks for none.'),
    },
    'Redis or Valkey, with store: redis.',
  ),
  cluster: section(
    {
      name: text
        .regex(/^[A-Za-z0-9_.-]+$/, 'must be letters, digits, "_", "." and "-"')
        .max(64)
        .default('thrum')
        .describe('Name of this cluster; hosts of another name are refused by the same keys in Redis.'),
      host: text
        .max(255)
        .default('')
        .describe('Name of this host in status and metrics; empty takes the name of the machine.'),
      advertise: text
        .max(255)
        .default('')
        .describe(
          'Where clients reach this very host, as host:port: sent as location to those who may resume, and to clients that another host sends away; empty sends none.',
        ),
      lease_seconds: whole(3, 300)
        .default(10)
        .describe('How long the sessions of a worker that died are shown, at most, after its last sign of life.'),
      inbox_entries: whole(100, 10_000_000)
        .default(10_000)
        .describe(
          'Batches that may wait in Redis for one worker; one that falls further behind is brought up to date anew.',
        ),
    },
    'Many hosts on one Redis.',
  ),

  c2s: section(
    {
      port: port.default(5222).describe('Port for XMPP over TCP with STARTTLS; 0 picks a free one.'),
      tls: z
        .enum(['required', 'optional'])
        .default('required')
        .describe(
          'Whether clients must use STARTTLS before they authenticate; optional also allows PLAIN without TLS.',
        ),
    },
    'XMPP over TCP (RFC 6120).',
  ),
  c2s_tls: section(
    { port: port.default(5223).describe('Port for XMPP over direct TLS (XEP-0368); 0 picks a free one.') },
    'XMPP over direct TLS.',
  ),
  http: section(
    {
      port: port
        .default(5280)
        .describe('Port for HTTP: WebSocket at /xmpp-websocket, /metrics, /healthz, /readyz; 0 picks a free one.'),
    },
    'HTTP without TLS.',
  ),
  proxy_protocol: section(
    {
      mode: z
        .enum(['off', 'required'])
        .default('off')
        .describe(
          'Whether the XMPP listeners expect the PROXY protocol, version 2, in front of every connection, as a load balancer sends it; WebSockets then are for load balancers that speak HTTP and tell of the client by X-Forwarded-For (or the PROXY protocol).',
        ),
      trusted: z
        .array(text.min(1))
        .default(['127.0.0.0/8', '::1/128'])
        .describe('Addresses or networks of the load balancers; connections from elsewhere are refused.'),
    },
    'Behind a load balancer.',
  ),
  admission: section(
    {
      connections_per_second: whole(1)
        .default(2000)
        .describe('New connections that each listener of a worker lets in per second; the others wait their turn.'),
      burst: whole(1)
        .default(4000)
        .describe('Connections that may be let in without waiting, above that rate, after a quiet time.'),
      queue: whole(0)
        .default(100_000)
        .describe(
          'Connections that may wait to be let in, at each listener of a worker, fairly by address; more are turned away.',
        ),
    },
    'How fast clients are let in, above all when all of them come back at once.',
  ),
  https: section({ port: port.default('off').describe('Port for the same over TLS (wss).') }, 'HTTP over TLS.'),
  tls: section(
    {
      certificate: text
        .default('')
        .describe('PEM file with the certificate chain; empty means a self-signed one, made in data_dir.'),
      key: text.default('').describe('PEM file with the private key; empty when the certificate file holds it too.'),
      client_ca: text
        .default('')
        .describe(
          'PEM file with the authorities whose client certificates may log in (SASL EXTERNAL); empty asks for none.',
        ),
    },
    'Certificates; read again on SIGHUP.',
  ),

  registration: z
    .enum(['closed', 'open'])
    .default('closed')
    .describe('Whether anyone may create an account in-band (XEP-0077).'),
  admins: z
    .array(text.min(1))
    .default([])
    .describe('Bare JIDs that may administer the broker; when empty, the first start makes admin@domain.'),
  resource_conflict: z
    .enum(['replace', 'refuse'])
    .default('replace')
    .describe('What happens when a resource is bound that is in use: replace the old session or refuse the new one.'),
  sasl: section(
    {
      iterations: whole(4096, 10_000_000)
        .default(4096)
        .describe('PBKDF2 iterations of newly stored SCRAM keys (RFC 7677 §4 asks for at least 4096).'),
      proof_capacity: whole(0)
        .default(100_000)
        .describe('Accounts whose last password check each worker remembers, so that reconnecting costs no PBKDF2.'),
    },
    'Authentication.',
  ),
  sm: section(
    {
      enabled: flag.default(true).describe('Offer stream management (XEP-0198).'),
      resume_seconds: whole(0, 86_400)
        .default(300)
        .describe('How long a cut session waits to be resumed, at most; 0 allows no resumption.'),
      request_every: whole(1, 100_000).default(50).describe('Stanzas sent before an acknowledgement is requested.'),
    },
    'Stream management.',
  ),
  keepalive: section(
    {
      ping_after_seconds: whole(0, 86_400)
        .default(120)
        .describe('Silence after which a client is asked whether it is still there; 0 never asks.'),
      ping_timeout_seconds: whole(1, 3600)
        .default(30)
        .describe('How long the answer may take before the connection counts as dead.'),
    },
    'Finding dead connections.',
  ),
  slow_reader: z
    .enum(['drop_oldest', 'keep_latest', 'disconnect'])
    .default('drop_oldest')
    .describe(
      'What happens to notifications for a client that reads too slowly: drop the oldest, keep only the latest of each node, or disconnect it (it may resume).',
    ),
  pubsub: section(
    {
      host_prefix: text
        .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'must be one lower-case host name label, such as pubsub')
        .max(63)
        .default('pubsub')
        .describe('First label of the address of the pub-sub service: pubsub.domain.'),
      create: z
        .enum(['anyone', 'admins'])
        .default('anyone')
        .describe('Who may create nodes: every local account or administrators only.'),
      max_payload_bytes: whole(1)
        .default(64 * KIB)
        .describe('Largest payload of an item; a node may ask for less with pubsub#max_payload_size.'),
    },
    'The pub-sub service (XEP-0060).',
  ),

  limits: section(
    {
      enabled: flag
        .default(true)
        .describe(
          'False lifts rates, counts, quotas and the time allowed before authentication; bounds on size, depth and memory always hold.',
        ),
      connections: whole(1).default(100_000).describe('Open connections per worker.'),
      connections_per_address: whole(1)
        .default(1000)
        .describe('Open connections from one IP address, of IPv6 from one network of 64 bits, per worker.'),
      bytes_per_second: whole(1000)
        .default(1 * MIB)
        .describe(
          'Lasting rate of bytes read from one connection; a faster sender is slowed, and closed only where it cannot be: over WebSocket.',
        ),
      burst_bytes: whole(10_000)
        .default(4 * MIB)
        .describe('Bytes that one connection may send at once above the lasting rate.'),
      authentication_seconds: whole(1, 3600)
        .default(30)
        .describe('Time from connection to login before the connection is closed.'),
      authentication_attempts: whole(1, 100)
        .default(5)
        .describe('Failed logins after which a connection is closed (RFC 6120 §6.4.5).'),
      failed_authentications_per_minute: whole(1)
        .default(60)
        .describe(
          'Failed logins from one IP address (IPv6: /64) per minute, at each worker, before further ones are refused.',
        ),
      registrations_per_hour: whole(1)
        .default(10)
        .describe('Accounts that may be created in-band from one IP address (IPv6: /64) per hour, at each worker.'),
      http_requests_per_minute: whole(1)
        .default(1200)
        .describe(
          'HTTP requests from one IP address (IPv6: /64) per minute, at each worker, before further ones get 429; /healthz and /readyz are free, WebSockets count as connections.',
        ),
      sessions_per_account: whole(1).default(100).describe('Sessions that one account may have at once.'),
      nodes_per_owner: whole(1).default(1000).describe('Pub-sub nodes that one account may have created.'),
      subscriptions_per_account: whole(1)
        .default(10_000)
        .describe('Subscriptions that one account may have, of its bare JID and all its resources together.'),
      affiliations_per_node: whole(1)
        .default(10_000)
        .describe('Entities that may be affiliated with one node (owners, publishers, members, outcasts).'),
      items_per_node: whole(1)
        .default(100_000)
        .describe('Items that a node may keep: what pubsub#max_items=max stands for.'),
      stanza_bytes: whole(10_000, 16 * MIB)
        .default(256 * KIB)
        .describe('Largest stanza accepted after authentication; always holds.'),
      stanza_bytes_unauthenticated: whole(10_000, 1 * MIB)
        .default(10_000)
        .describe(
          'Largest stanza accepted before authentication (RFC 6120 §13.12 asks for at least 10000); always holds.',
        ),
      depth: whole(8, 250).default(64).describe('Deepest nesting of elements in a stanza; always holds.'),
      attributes: whole(16, 1000).default(64).describe('Most attributes of one element; always holds.'),
      outbox_bytes: whole(64 * KIB)
        .default(4 * MIB)
        .describe('Bytes that may wait to be written to one connection; above it slow_reader applies; always holds.'),
      bus_backlog_bytes: whole(1 * MIB)
        .default(64 * MIB)
        .describe('Bytes that may wait between two workers before publishers are paused; always holds.'),
      scanner_bytes: whole(16 * MIB, 4096 * MIB)
        .default(256 * MIB)
        .describe(
          'Memory of the XML scanner of one worker, for unfinished stanzas; touched only as needed; always holds.',
        ),
    },
    'Limits.',
  ),
  shutdown: section(
    {
      grace_seconds: whole(0, 3600)
        .default(10)
        .describe(
          'How long queued stanzas may take to be written at shutdown before streams are cut with system-shutdown.',
        ),
      spread_seconds: whole(0, 3600)
        .default(0)
        .describe(
          'Over how long clients are sent away at shutdown, at random, so that they do not come back all at once; lies within the grace.',
        ),
    },
    'Stopping.',
  ),
  log: section(
    {
      level: z
        .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
        .default('info')
        .describe('Least severity that is logged (to stderr).'),
    },
    'Logging: one JSON object per line.',
  ),
  contact: section(
    {
      abuse: contacts('reports of abuse'),
      admin: contacts('the administrators'),
      feedback: contacts('feedback'),
      sales: contacts('sales'),
      security: contacts('reports of security problems'),
      support: contacts('support'),
    },
    'Contacts that service discovery shows (XEP-0157).',
  ),
});

/** A complete configuration; keys as they stand in the YAML file. */
export type Config = z.output<typeof schema>;

/** The configuration of a start without file, variables and options. */
export function defaults(): Config {
  return schema.parse({});
}
