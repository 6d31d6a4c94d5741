import cachelayer.models
import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Clearance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cleared_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('cleared_by', models.CharField(max_length=150)),
                ('namespaces', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
            ],
            options={
                'verbose_name': 'clearance',
                'verbose_name_plural': 'cache',
                'ordering': ['-cleared_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='OutboxRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('due_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('transaction_id', models.BigIntegerField(db_default=cachelayer.models.TransactionId())),
            ],
            options={
                'db_table': 'cachelayer_outbox',
                'indexes': [models.Index(fields=['transaction_id'], name='idx_outbox_transaction')],
            },
        ),
    ]
