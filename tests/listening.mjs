// Has a server listen on a free port of 127.0.0.1. Resolves to the port; rejects where it cannot listen.
export function listening(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      server.off('error', reject);
      resolve(server.address().port);
    });
  });
}
