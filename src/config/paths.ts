import { join } from 'node:path';

/** Where things lie in data_dir. */
export function paths(dataDir: string) {
  return {
    store: join(dataDir, 'store'),
    /** The self-signed certificate, used when tls.certificate is empty. */
    certificate: join(dataDir, 'tls', 'certificate.pem'),
    key: join(dataDir, 'tls', 'key.pem'),
    /** Unix socket for administration of a running broker. */
    control: join(dataDir, 'control.sock'),
  };
}
