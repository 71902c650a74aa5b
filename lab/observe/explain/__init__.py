"""Why a packet was lost: what the kernel dropped in a lab, the reason that it gives, and the setting that makes it do so."""
