// webpack-dev-server (5) in front of websse, which needs no flags for it: with this, pages use /event and
// /send as if they were their own.
module.exports = {
  devServer: {
    proxy: [
      {
        context: ['/event', '/send', '/healthz'],
        target: 'http://127.0.0.1:8080',
        // Closes a stream when its page has gone. Without this websse keeps it, for ever.
        onProxyReq: (proxyReq, req, res) => res.on('close', () => proxyReq.destroy()),
      },
    ],
  },
}
