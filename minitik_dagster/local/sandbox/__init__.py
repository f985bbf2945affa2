"""A strict HTTP emulator of TikTok, Instagram and YouTube, for demos, tests and benchmarks.

It refuses what the real platforms refuse, in their words, and can lie as they do (faults). It is
never imported by production code.
"""
