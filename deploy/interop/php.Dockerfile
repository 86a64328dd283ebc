FROM debian:12-slim
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends php-cli php-stomp \
 && rm -rf /var/lib/apt/lists/*
COPY app.php /app.php
USER nobody
CMD ["php", "/app.php"]
