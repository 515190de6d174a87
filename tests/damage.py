"""Damage as disks, editors and strangers do it, drawn by a seed."""

RUBBISH = [
    b"null",
    b"1e999",
    b"-1",
    b"[[",
    b"{}",
    b"NaN",
    b'"x"',
    b"9" * 30,
    b"true",
    b",",
    b"}\n{",
    b"\n",
    b"\0\0",
    b"\xff",
]


def damage(content, rng):
    """Flip, cut, repeat or insert some bytes, or nothing."""
    content = bytearray(content)
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at : at + rng.randrange(1, 200)]
        elif kind == 2:
            content[at:at] = rng.choice(RUBBISH)
        elif kind == 3:
            other = rng.randrange(len(content) + 1)
            content[at:at] = content[other : other + rng.randrange(1, 200)]
        elif rng.random() < 0.2:
            del content[at:]
    return bytes(content)
