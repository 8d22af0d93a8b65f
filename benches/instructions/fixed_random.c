/* Preloaded under the counter: whatever asks the system for random bytes gets the same ones, so that hash tables lie
   in memory as they lay before, and a count repeats to the instruction. In C, because Rust needs `unsafe` for it. */
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    (void)flags;
    memset(buffer, 0x5a, length);
    return (ssize_t)length;
}
