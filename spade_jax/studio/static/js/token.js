/** The token of an address such as http://HOST:8128/#token=…, exchanged for a cookie. */

/** Send the token, if the address has one; it is removed from the address and the history. */
export async function sendToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return;
  history.replaceState(null, '', location.pathname);
  await fetch('/api/token', {
    method: 'POST', body: JSON.stringify({token}),
    headers: {'Content-Type': 'application/json', 'X-Studio': '1'},
  });
}
