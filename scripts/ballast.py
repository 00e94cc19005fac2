"""Takes all device memory but N MiB, runs a command, and says whether it succeeded in what was left.

python3 scripts/ballast.py N COMMAND...     # {left} in an argument becomes the MiB that are left, N or a little more

The command's own context, libraries and page tables must fit too: what the `gpu_memory` bound promises. Needs torch.
"""

import subprocess
import sys

import torch


def main() -> int:
    left_bytes = int(sys.argv[1]) << 20
    torch.zeros(1, device="cuda")
    blocks = []
    for size_mib in (1024, 128, 16):  # torch takes 20 MiB for anything below 10
        while torch.cuda.mem_get_info()[0] - (size_mib << 20) >= left_bytes:
            blocks.append(torch.empty(size_mib << 20, dtype=torch.uint8, device="cuda"))
    free = torch.cuda.mem_get_info()[0]
    print(f"ballast: {free >> 20} MiB of device memory left")
    done = subprocess.run([word.replace("{left}", str(free >> 20)) for word in sys.argv[2:]])
    print(f"ballast: the command ended with {done.returncode}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
