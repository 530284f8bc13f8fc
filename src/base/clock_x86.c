/* SPDX-License-Identifier: MIT */
/*
 * How fast the TSC runs against CLOCK_MONOTONIC; compiled on x86-64 alone. Set-up's thread; owns
 * nothing.
 *
 * The counter is trusted if the CPU says that its rate never changes and the kernel has not found
 * it wanting: a kernel that marks it unstable (sockets that drift apart, say) moves to another
 * clock source, and then so do we.
 */
#include "base/clock.h"
#include "base/assert.h"

#include <cpuid.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CALIBRATION_NS 10000000L /* 10 ms: some 20 ns of doubt at each end make 4 in a million */
#define SAMPLES        16
#define CPUID_POWER    0x80000007U /* "advanced power management" */
#define INVARIANT_TSC  (1U << 8)   /* in its edx */

static bool tsc_invariant(void)
{
	unsigned int eax;
	unsigned int ebx;
	unsigned int ecx;
	unsigned int edx;

	if (__get_cpuid(CPUID_POWER, &eax, &ebx, &ecx, &edx) == 0)
		return false;
	return (edx & INVARIANT_TSC) != 0;
}

/* False if the kernel tells time by something slower, which it does for a reason. */
static bool kernel_trusts_tsc(void)
{
	static const char path[] =
		"/sys/devices/system/clocksource/clocksource0/current_clocksource";
	static const char *const slow[] = {"hpet", "acpi_pm", "jiffies", "refined-jiffies"};
	char name[32];
	ssize_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return true; /* a container without /sys: the CPU's word must do */
	size = read(fd, name, sizeof(name) - 1);
	(void)close(fd);
	if (size <= 0)
		return true;
	name[size] = '\0';
	name[strcspn(name, "\n")] = '\0';
	for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
		if (strcmp(name, slow[i]) == 0)
			return false;
	}
	return true;
}

/* Both clocks at one instant: of several tries the one that was disturbed least. */
static void sample(uint64_t *ticks, uint64_t *ns)
{
	uint64_t width_min = UINT64_MAX;

	for (int i = 0; i < SAMPLES; i++) {
		uint64_t before = __rdtsc();
		uint64_t now = llr_clock_gettime_ns();
		uint64_t width = __rdtsc() - before;

		if (width < width_min) {
			width_min = width;
			*ticks = before + width / 2;
			*ns = now;
		}
	}
	LLR_ASSERT(width_min != UINT64_MAX);
}

void llr_clock_calibrate(struct llr_clock *clock)
{
	const struct timespec pause = {.tv_nsec = CALIBRATION_NS};
	uint64_t start_ticks = 0;
	uint64_t start_ns = 0;
	uint64_t end_ticks = 0;
	uint64_t end_ns = 0;

	if (!tsc_invariant() || !kernel_trusts_tsc())
		return;
	sample(&start_ticks, &start_ns);
	(void)nanosleep(&pause, NULL); /* cut short by a signal it is only less exact */
	sample(&end_ticks, &end_ns);
	if (end_ticks <= start_ticks || end_ns <= start_ns)
		return;

	clock->base_ticks = end_ticks;
	clock->base_ns = end_ns;
	clock->scale = (uint64_t)(((unsigned __int128)(end_ns - start_ns) << 32) /
				  (end_ticks - start_ticks));
}
