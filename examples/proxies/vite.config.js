// Vite's development server (8) in front of websse, which needs no flags for it: with this, pages use
// /event and /send as if they were their own.
export default {
  server: {
    proxy: {
      // An object, as the short form (only the address) sends a Host of its own: websse compares it
      // with the page's origin, and would refuse the page's POST.
      '^/(event|send|healthz)(\\?|$)': { target: 'http://127.0.0.1:8080' },
    },
  },
}
