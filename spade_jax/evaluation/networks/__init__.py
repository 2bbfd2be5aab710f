"""Networks whose published weights evaluate images; none of them is trained here."""
