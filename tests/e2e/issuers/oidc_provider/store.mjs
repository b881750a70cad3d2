// Where the provider keeps what it issues: the library's own keeps no more than a thousand entries.
//
// Nothing is dropped for its age: the library looks at `exp` itself, and tells an expired device
// code from an unknown one.

export function memory() {
  const entries = new Map(); // "Model:id" -> payload
  const members = new Map(); // grant -> the keys of what was issued under it

  return (model) => {
    const key = (id) => `${model}:${id}`;
    const by = (name, value) => [...entries].find(
      ([found, payload]) => found.startsWith(`${model}:`) && payload[name] === value,
    )?.[1];

    return {
      async upsert(id, payload) {
        entries.set(key(id), payload);
        if (payload.grantId) {
          members.set(payload.grantId, (members.get(payload.grantId) ?? new Set()).add(key(id)));
        }
      },
      async find(id) {
        return entries.get(key(id));
      },
      async findByUid(uid) {
        return by('uid', uid);
      },
      async findByUserCode(userCode) {
        return by('userCode', userCode);
      },
      async consume(id) {
        entries.get(key(id)).consumed = Math.floor(Date.now() / 1000);
      },
      async destroy(id) {
        entries.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        for (const member of members.get(grantId) ?? []) {
          if (member.startsWith(`${model}:`)) entries.delete(member);
        }
      },
    };
  };
}
